//! `v1 Service`: one name and address for a set of pods.

use crate::kinds::row;
use crate::resource::{NameRule, Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["svc"]),
        categories: Names::Static(&["all"]),
        subresources: vec![
            Subresource {
                name: "proxy",
                kind: "ServiceProxyOptions",
                group: "",
                version: "",
                verbs: &["create", "delete", "get", "patch", "update"],
            },
            Subresource::STATUS,
        ],
        name_rule: NameRule::Label1035,
        has_status: true,
        create_on_update: true,
        ..row("", "v1", "Service", "services", &Plain)
    }]
}
