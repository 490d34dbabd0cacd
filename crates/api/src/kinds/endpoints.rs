//! `v1 Endpoints`: the addresses behind a Service, in the old form.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["ep"]),
        create_on_update: true,
        ..row("", "v1", "Endpoints", "endpoints", &Plain)
    }]
}
