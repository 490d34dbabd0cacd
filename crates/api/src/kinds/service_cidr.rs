//! `networking.k8s.io ServiceCIDR`: a range for Service addresses.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Scope, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            scope: Scope::Cluster,
            subresources: vec![Subresource::STATUS],
            has_status: true,
            ..row("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", &Plain)
        },
        Resource {
            scope: Scope::Cluster,
            subresources: vec![Subresource::STATUS],
            has_status: true,
            off_by_default: true,
            ..row("networking.k8s.io", "v1beta1", "ServiceCIDR", "servicecidrs", &Plain).stored_as(
                "networking.k8s.io",
                "v1",
                "servicecidrs",
            )
        },
    ]
}
