//! `apps/v1 DaemonSet`: one pod per node.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["ds"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::STATUS],
        has_status: true,
        has_generation: true,
        ..row("apps", "v1", "DaemonSet", "daemonsets", &Plain)
    }]
}
