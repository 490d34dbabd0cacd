//! `v1 Namespace`: a scope for names.

use crate::kinds::row;
use crate::resource::{NameRule, Names, Plain, Resource, Scope, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["ns"]),
        scope: Scope::Cluster,
        verbs: Names::Static(&["create", "delete", "get", "list", "patch", "update", "watch"]),
        subresources: vec![Subresource::own("finalize", &["update"]), Subresource::STATUS],
        name_rule: NameRule::Label,
        has_status: true,
        ..row("", "v1", "Namespace", "namespaces", &Plain)
    }]
}
