//! `storage.k8s.io/v1 CSINode`: storage drivers on a node.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        ..row("storage.k8s.io", "v1", "CSINode", "csinodes", &Plain)
    }]
}
