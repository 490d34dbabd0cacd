//! `authentication.k8s.io SelfSubjectReview`: who am I; never stored.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            scope: Scope::Cluster,
            verbs: Names::Static(&["create"]),
            virtual_only: true,
            ..row("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", &Plain)
        },
        Resource {
            scope: Scope::Cluster,
            verbs: Names::Static(&["create"]),
            virtual_only: true,
            off_by_default: true,
            ..row(
                "authentication.k8s.io",
                "v1beta1",
                "SelfSubjectReview",
                "selfsubjectreviews",
                &Plain,
            )
        },
    ]
}
