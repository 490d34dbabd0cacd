//! `v1 PodTemplate`: a stored template for pods.

use crate::kinds::row;
use crate::resource::{Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource { has_generation: true, ..row("", "v1", "PodTemplate", "podtemplates", &Plain) }]
}
