//! `resource.k8s.io ResourceSlice`: devices that a driver offers.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            scope: Scope::Cluster,
            has_generation: true,
            ..row("resource.k8s.io", "v1", "ResourceSlice", "resourceslices", &Plain)
        },
        Resource {
            scope: Scope::Cluster,
            has_generation: true,
            off_by_default: true,
            ..row("resource.k8s.io", "v1beta2", "ResourceSlice", "resourceslices", &Plain)
                .stored_as("resource.k8s.io", "v1", "resourceslices")
        },
        Resource {
            scope: Scope::Cluster,
            has_generation: true,
            off_by_default: true,
            ..row("resource.k8s.io", "v1beta1", "ResourceSlice", "resourceslices", &Plain)
                .stored_as("resource.k8s.io", "v1", "resourceslices")
        },
        Resource {
            scope: Scope::Cluster,
            has_generation: true,
            off_by_default: true,
            ..row("resource.k8s.io", "v1alpha3", "ResourceSlice", "resourceslices", &Plain)
                .stored_as("resource.k8s.io", "v1", "resourceslices")
        },
    ]
}
