//! `scheduling.k8s.io/v1 PriorityClass`: names a priority.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["pc"]),
        scope: Scope::Cluster,
        has_generation: true,
        ..row("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", &Plain)
    }]
}
