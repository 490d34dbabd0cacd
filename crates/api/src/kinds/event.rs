//! `v1 Event` and `events.k8s.io/v1 Event`: what happened to an object; one storage form for both.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            short_names: Names::Static(&["ev"]),
            create_on_update: true,
            ..row("", "v1", "Event", "events", &Plain)
        },
        Resource {
            short_names: Names::Static(&["ev"]),
            create_on_update: true,
            ..row("events.k8s.io", "v1", "Event", "events", &Plain).stored_as("", "v1", "events")
        },
    ]
}
