//! `v1 ResourceQuota`: caps what a namespace may use.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["quota"]),
        subresources: vec![Subresource::STATUS],
        has_status: true,
        ..row("", "v1", "ResourceQuota", "resourcequotas", &Plain)
    }]
}
