//! `apps/v1 ReplicaSet`: keeps a number of equal pods.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["rs"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::SCALE, Subresource::STATUS],
        has_status: true,
        has_generation: true,
        ..row("apps", "v1", "ReplicaSet", "replicasets", &Plain)
    }]
}
