//! `v1 ServiceAccount`: an identity for pods.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["sa"]),
        subresources: vec![Subresource {
            name: "token",
            kind: "TokenRequest",
            group: "authentication.k8s.io",
            version: "v1",
            verbs: &["create"],
        }],
        ..row("", "v1", "ServiceAccount", "serviceaccounts", &Plain)
    }]
}
