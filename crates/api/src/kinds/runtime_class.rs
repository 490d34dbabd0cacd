//! `node.k8s.io/v1 RuntimeClass`: a way to run containers.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        create_on_update: true,
        ..row("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", &Plain)
    }]
}
