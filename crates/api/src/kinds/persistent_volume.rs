//! `v1 PersistentVolume`: a piece of storage in the cluster.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["pv"]),
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        has_status: true,
        ..row("", "v1", "PersistentVolume", "persistentvolumes", &Plain)
    }]
}
