//! `authentication.k8s.io/v1 TokenReview`: whose token is it; never stored.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        verbs: Names::Static(&["create"]),
        virtual_only: true,
        ..row("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", &Plain)
    }]
}
