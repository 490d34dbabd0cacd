//! `storage.k8s.io/v1 VolumeAttachment`: a volume on a node.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Scope, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        has_status: true,
        ..row("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", &Plain)
    }]
}
