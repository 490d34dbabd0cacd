//! `apiextensions.k8s.io/v1 CustomResourceDefinition`: adds a kind.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["crd", "crds"]),
        categories: Names::Static(&["api-extensions"]),
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        has_status: true,
        has_generation: true,
        ..row(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            &Plain,
        )
    }]
}
