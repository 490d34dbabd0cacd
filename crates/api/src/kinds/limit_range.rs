//! `v1 LimitRange`: bounds and defaults for resources in a namespace.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["limits"]),
        create_on_update: true,
        ..row("", "v1", "LimitRange", "limitranges", &Plain)
    }]
}
