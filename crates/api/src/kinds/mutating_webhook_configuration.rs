//! `admissionregistration.k8s.io/v1 MutatingWebhookConfiguration`: webhooks that change requests.

use super::hooks::configuration::{Configuration, configuration};
use crate::resource::Resource;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![configuration(
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        &Configuration { is_mutating: true },
    )]
}
