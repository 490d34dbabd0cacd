//! `apps/v1 Deployment`: rolls ReplicaSets.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["deploy"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::SCALE, Subresource::STATUS],
        has_status: true,
        has_generation: true,
        ..row("apps", "v1", "Deployment", "deployments", &Plain)
    }]
}
