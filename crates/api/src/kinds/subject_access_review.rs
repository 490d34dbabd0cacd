//! `authorization.k8s.io/v1` access reviews: who may do what; never stored.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            verbs: Names::Static(&["create"]),
            virtual_only: true,
            ..row(
                "authorization.k8s.io",
                "v1",
                "LocalSubjectAccessReview",
                "localsubjectaccessreviews",
                &Plain,
            )
        },
        Resource {
            scope: Scope::Cluster,
            verbs: Names::Static(&["create"]),
            virtual_only: true,
            ..row(
                "authorization.k8s.io",
                "v1",
                "SelfSubjectAccessReview",
                "selfsubjectaccessreviews",
                &Plain,
            )
        },
        Resource {
            scope: Scope::Cluster,
            verbs: Names::Static(&["create"]),
            virtual_only: true,
            ..row(
                "authorization.k8s.io",
                "v1",
                "SelfSubjectRulesReview",
                "selfsubjectrulesreviews",
                &Plain,
            )
        },
        Resource {
            scope: Scope::Cluster,
            verbs: Names::Static(&["create"]),
            virtual_only: true,
            ..row(
                "authorization.k8s.io",
                "v1",
                "SubjectAccessReview",
                "subjectaccessreviews",
                &Plain,
            )
        },
    ]
}
