//! `networking.k8s.io/v1 IngressClass`: which controller serves an Ingress.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        has_generation: true,
        ..row("networking.k8s.io", "v1", "IngressClass", "ingressclasses", &Plain)
    }]
}
