//! `v1 Node`: a machine that runs pods.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["no"]),
        scope: Scope::Cluster,
        subresources: vec![
            Subresource {
                name: "proxy",
                kind: "NodeProxyOptions",
                group: "",
                version: "",
                verbs: &["create", "delete", "get", "patch", "update"],
            },
            Subresource::STATUS,
        ],
        has_status: true,
        ..row("", "v1", "Node", "nodes", &Plain)
    }]
}
