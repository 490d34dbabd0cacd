//! `networking.k8s.io/v1 Ingress`: HTTP from outside to Services.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["ing"]),
        subresources: vec![Subresource::STATUS],
        has_status: true,
        has_generation: true,
        ..row("networking.k8s.io", "v1", "Ingress", "ingresses", &Plain)
    }]
}
