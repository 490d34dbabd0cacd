//! `v1 PersistentVolumeClaim`: a request for storage.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["pvc"]),
        subresources: vec![Subresource::STATUS],
        has_status: true,
        ..row("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", &Plain)
    }]
}
