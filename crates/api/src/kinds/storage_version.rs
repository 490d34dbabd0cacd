//! `internal.apiserver.k8s.io/v1alpha1 StorageVersion`: what servers encode.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Scope, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        has_status: true,
        off_by_default: true,
        ..row("internal.apiserver.k8s.io", "v1alpha1", "StorageVersion", "storageversions", &Plain)
    }]
}
