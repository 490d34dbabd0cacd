//! `v1 Pod`: containers that run together on one node.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, STATUS_VERBS, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["po"]),
        categories: Names::Static(&["all"]),
        subresources: vec![
            Subresource {
                name: "attach",
                kind: "PodAttachOptions",
                group: "",
                version: "",
                verbs: &["create", "get"],
            },
            Subresource {
                name: "binding",
                kind: "Binding",
                group: "",
                version: "",
                verbs: &["create"],
            },
            Subresource::own("ephemeralcontainers", STATUS_VERBS),
            Subresource {
                name: "eviction",
                kind: "Eviction",
                group: "policy",
                version: "v1",
                verbs: &["create"],
            },
            Subresource {
                name: "exec",
                kind: "PodExecOptions",
                group: "",
                version: "",
                verbs: &["create", "get"],
            },
            Subresource::own("log", &["get"]),
            Subresource {
                name: "portforward",
                kind: "PodPortForwardOptions",
                group: "",
                version: "",
                verbs: &["create", "get"],
            },
            Subresource {
                name: "proxy",
                kind: "PodProxyOptions",
                group: "",
                version: "",
                verbs: &["create", "delete", "get", "patch", "update"],
            },
            Subresource::own("resize", STATUS_VERBS),
            Subresource::STATUS,
        ],
        has_status: true,
        has_generation: true,
        ..row("", "v1", "Pod", "pods", &Plain)
    }]
}
