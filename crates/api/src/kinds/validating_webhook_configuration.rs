//! `admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration`: webhooks that judge requests.

use super::hooks::configuration::{Configuration, configuration};
use crate::resource::Resource;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![configuration(
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        &Configuration { is_mutating: false },
    )]
}
