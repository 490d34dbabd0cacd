//! `admissionregistration.k8s.io ValidatingAdmissionPolicyBinding`: where rules apply.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            categories: Names::Static(&["api-extensions"]),
            scope: Scope::Cluster,
            has_generation: true,
            ..row(
                "admissionregistration.k8s.io",
                "v1",
                "ValidatingAdmissionPolicyBinding",
                "validatingadmissionpolicybindings",
                &Plain,
            )
        },
        Resource {
            categories: Names::Static(&["api-extensions"]),
            scope: Scope::Cluster,
            has_generation: true,
            off_by_default: true,
            ..row(
                "admissionregistration.k8s.io",
                "v1beta1",
                "ValidatingAdmissionPolicyBinding",
                "validatingadmissionpolicybindings",
                &Plain,
            )
            .stored_as(
                "admissionregistration.k8s.io",
                "v1",
                "validatingadmissionpolicybindings",
            )
        },
    ]
}
