//! `batch/v1 CronJob`: makes Jobs by the clock.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["cj"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::STATUS],
        has_status: true,
        has_generation: true,
        ..row("batch", "v1", "CronJob", "cronjobs", &Plain)
    }]
}
