//! `admissionregistration.k8s.io ValidatingAdmissionPolicy`: rules in CEL.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            categories: Names::Static(&["api-extensions"]),
            scope: Scope::Cluster,
            subresources: vec![Subresource::STATUS],
            has_status: true,
            has_generation: true,
            ..row(
                "admissionregistration.k8s.io",
                "v1",
                "ValidatingAdmissionPolicy",
                "validatingadmissionpolicies",
                &Plain,
            )
        },
        Resource {
            categories: Names::Static(&["api-extensions"]),
            scope: Scope::Cluster,
            subresources: vec![Subresource::STATUS],
            has_status: true,
            has_generation: true,
            off_by_default: true,
            ..row(
                "admissionregistration.k8s.io",
                "v1beta1",
                "ValidatingAdmissionPolicy",
                "validatingadmissionpolicies",
                &Plain,
            )
            .stored_as(
                "admissionregistration.k8s.io",
                "v1",
                "validatingadmissionpolicies",
            )
        },
    ]
}
