//! `flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration`: shares of the server.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Scope, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        has_status: true,
        has_generation: true,
        ..row(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            &Plain,
        )
    }]
}
