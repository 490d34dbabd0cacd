//! `apiregistration.k8s.io/v1 APIService`: who serves an API group version.

use crate::kinds::row;
use crate::resource::{NameRule, Names, Plain, Resource, Scope, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        categories: Names::Static(&["api-extensions"]),
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        name_rule: NameRule::Own,
        has_status: true,
        ..row("apiregistration.k8s.io", "v1", "APIService", "apiservices", &Plain)
    }]
}
