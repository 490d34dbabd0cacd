//! `policy/v1 PodDisruptionBudget`: how many pods may be down by choice.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["pdb"]),
        subresources: vec![Subresource::STATUS],
        has_status: true,
        has_generation: true,
        ..row("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", &Plain)
    }]
}
