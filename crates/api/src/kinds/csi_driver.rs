//! `storage.k8s.io/v1 CSIDriver`: how a storage driver wants to be treated.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        ..row("storage.k8s.io", "v1", "CSIDriver", "csidrivers", &Plain)
    }]
}
