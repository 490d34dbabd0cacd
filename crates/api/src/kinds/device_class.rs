//! `resource.k8s.io DeviceClass`: a kind of device.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            scope: Scope::Cluster,
            has_generation: true,
            ..row("resource.k8s.io", "v1", "DeviceClass", "deviceclasses", &Plain)
        },
        Resource {
            scope: Scope::Cluster,
            has_generation: true,
            off_by_default: true,
            ..row("resource.k8s.io", "v1beta2", "DeviceClass", "deviceclasses", &Plain).stored_as(
                "resource.k8s.io",
                "v1",
                "deviceclasses",
            )
        },
        Resource {
            scope: Scope::Cluster,
            has_generation: true,
            off_by_default: true,
            ..row("resource.k8s.io", "v1beta1", "DeviceClass", "deviceclasses", &Plain).stored_as(
                "resource.k8s.io",
                "v1",
                "deviceclasses",
            )
        },
        Resource {
            scope: Scope::Cluster,
            has_generation: true,
            off_by_default: true,
            ..row("resource.k8s.io", "v1alpha3", "DeviceClass", "deviceclasses", &Plain).stored_as(
                "resource.k8s.io",
                "v1",
                "deviceclasses",
            )
        },
    ]
}
