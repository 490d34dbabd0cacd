//! `admissionregistration.k8s.io/v1 MutatingWebhookConfiguration`: webhooks that change requests.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        categories: Names::Static(&["api-extensions"]),
        scope: Scope::Cluster,
        has_generation: true,
        ..row(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
            &Plain,
        )
    }]
}
