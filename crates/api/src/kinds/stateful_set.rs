//! `apps/v1 StatefulSet`: pods with an identity and storage of their own.

use crate::kinds::row;
use crate::resource::{NameRule, Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["sts"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::SCALE, Subresource::STATUS],
        name_rule: NameRule::Label,
        has_status: true,
        has_generation: true,
        ..row("apps", "v1", "StatefulSet", "statefulsets", &Plain)
    }]
}
