//! `rbac.authorization.k8s.io/v1 Role`: a set of rights in one namespace.

use crate::kinds::row;
use crate::resource::{NameRule, Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        name_rule: NameRule::PathSegment,
        create_on_update: true,
        ..row("rbac.authorization.k8s.io", "v1", "Role", "roles", &Plain)
    }]
}
