//! `resource.k8s.io ResourceClaimTemplate`: makes claims per pod.

use crate::kinds::row;
use crate::resource::{Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        row("resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates", &Plain),
        Resource {
            off_by_default: true,
            ..row(
                "resource.k8s.io",
                "v1beta2",
                "ResourceClaimTemplate",
                "resourceclaimtemplates",
                &Plain,
            )
            .stored_as("resource.k8s.io", "v1", "resourceclaimtemplates")
        },
        Resource {
            off_by_default: true,
            ..row(
                "resource.k8s.io",
                "v1beta1",
                "ResourceClaimTemplate",
                "resourceclaimtemplates",
                &Plain,
            )
            .stored_as("resource.k8s.io", "v1", "resourceclaimtemplates")
        },
        Resource {
            off_by_default: true,
            ..row(
                "resource.k8s.io",
                "v1alpha3",
                "ResourceClaimTemplate",
                "resourceclaimtemplates",
                &Plain,
            )
            .stored_as("resource.k8s.io", "v1", "resourceclaimtemplates")
        },
    ]
}
