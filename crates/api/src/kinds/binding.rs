//! `v1 Binding`: puts a pod on a node; never stored.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        verbs: Names::Static(&["create"]),
        virtual_only: true,
        ..row("", "v1", "Binding", "bindings", &Plain)
    }]
}
