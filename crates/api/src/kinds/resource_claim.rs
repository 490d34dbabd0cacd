//! `resource.k8s.io ResourceClaim`: a request for devices.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            subresources: vec![Subresource::STATUS],
            has_status: true,
            ..row("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims", &Plain)
        },
        Resource {
            subresources: vec![Subresource::STATUS],
            has_status: true,
            off_by_default: true,
            ..row("resource.k8s.io", "v1beta2", "ResourceClaim", "resourceclaims", &Plain)
                .stored_as("resource.k8s.io", "v1", "resourceclaims")
        },
        Resource {
            subresources: vec![Subresource::STATUS],
            has_status: true,
            off_by_default: true,
            ..row("resource.k8s.io", "v1beta1", "ResourceClaim", "resourceclaims", &Plain)
                .stored_as("resource.k8s.io", "v1", "resourceclaims")
        },
        Resource {
            subresources: vec![Subresource::STATUS],
            has_status: true,
            off_by_default: true,
            ..row("resource.k8s.io", "v1alpha3", "ResourceClaim", "resourceclaims", &Plain)
                .stored_as("resource.k8s.io", "v1", "resourceclaims")
        },
    ]
}
