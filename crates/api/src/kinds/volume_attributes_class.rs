//! `storage.k8s.io VolumeAttributesClass`: mutable parameters of volumes.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            short_names: Names::Static(&["vac"]),
            scope: Scope::Cluster,
            ..row(
                "storage.k8s.io",
                "v1",
                "VolumeAttributesClass",
                "volumeattributesclasses",
                &Plain,
            )
        },
        Resource {
            short_names: Names::Static(&["vac"]),
            scope: Scope::Cluster,
            off_by_default: true,
            ..row(
                "storage.k8s.io",
                "v1beta1",
                "VolumeAttributesClass",
                "volumeattributesclasses",
                &Plain,
            )
            .stored_as("storage.k8s.io", "v1", "volumeattributesclasses")
        },
        Resource {
            short_names: Names::Static(&["vac"]),
            scope: Scope::Cluster,
            off_by_default: true,
            ..row(
                "storage.k8s.io",
                "v1alpha1",
                "VolumeAttributesClass",
                "volumeattributesclasses",
                &Plain,
            )
            .stored_as("storage.k8s.io", "v1", "volumeattributesclasses")
        },
    ]
}
