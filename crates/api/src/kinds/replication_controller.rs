//! `v1 ReplicationController`: keeps a number of pods, the old form of ReplicaSet.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["rc"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::SCALE, Subresource::STATUS],
        has_status: true,
        has_generation: true,
        ..row("", "v1", "ReplicationController", "replicationcontrollers", &Plain)
    }]
}
