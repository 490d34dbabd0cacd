//! `storagemigration.k8s.io StorageVersionMigration`: rewrites stored objects.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Scope, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            scope: Scope::Cluster,
            subresources: vec![Subresource::STATUS],
            has_status: true,
            ..row(
                "storagemigration.k8s.io",
                "v1",
                "StorageVersionMigration",
                "storageversionmigrations",
                &Plain,
            )
        },
        Resource {
            scope: Scope::Cluster,
            subresources: vec![Subresource::STATUS],
            has_status: true,
            off_by_default: true,
            ..row(
                "storagemigration.k8s.io",
                "v1beta1",
                "StorageVersionMigration",
                "storageversionmigrations",
                &Plain,
            )
            .stored_as("storagemigration.k8s.io", "v1", "storageversionmigrations")
        },
        Resource {
            scope: Scope::Cluster,
            subresources: vec![Subresource::STATUS],
            has_status: true,
            off_by_default: true,
            ..row(
                "storagemigration.k8s.io",
                "v1alpha1",
                "StorageVersionMigration",
                "storageversionmigrations",
                &Plain,
            )
            .stored_as("storagemigration.k8s.io", "v1", "storageversionmigrations")
        },
    ]
}
