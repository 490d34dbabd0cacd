//! `networking.k8s.io IPAddress`: one allocated Service address.

use crate::kinds::row;
use crate::resource::{NameRule, Names, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            short_names: Names::Static(&["ip"]),
            scope: Scope::Cluster,
            name_rule: NameRule::Own,
            ..row("networking.k8s.io", "v1", "IPAddress", "ipaddresses", &Plain)
        },
        Resource {
            short_names: Names::Static(&["ip"]),
            scope: Scope::Cluster,
            name_rule: NameRule::Own,
            off_by_default: true,
            ..row("networking.k8s.io", "v1beta1", "IPAddress", "ipaddresses", &Plain).stored_as(
                "networking.k8s.io",
                "v1",
                "ipaddresses",
            )
        },
    ]
}
