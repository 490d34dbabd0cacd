//! `rbac.authorization.k8s.io/v1 ClusterRoleBinding`: gives a ClusterRole everywhere.

use crate::kinds::row;
use crate::resource::{NameRule, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        name_rule: NameRule::PathSegment,
        create_on_update: true,
        ..row(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
            &Plain,
        )
    }]
}
