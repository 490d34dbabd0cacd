//! `storage.k8s.io/v1 StorageClass`: a way to provision volumes.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["sc"]),
        scope: Scope::Cluster,
        ..row("storage.k8s.io", "v1", "StorageClass", "storageclasses", &Plain)
    }]
}
