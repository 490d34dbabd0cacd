//! `batch/v1 Job`: runs pods to completion.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::STATUS],
        has_status: true,
        has_generation: true,
        ..row("batch", "v1", "Job", "jobs", &Plain)
    }]
}
