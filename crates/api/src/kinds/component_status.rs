//! `v1 ComponentStatus`: health of the control plane; made up at each request, never stored.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["cs"]),
        scope: Scope::Cluster,
        verbs: Names::Static(&["get", "list"]),
        virtual_only: true,
        ..row("", "v1", "ComponentStatus", "componentstatuses", &Plain)
    }]
}
