//! `v1 Secret`: bytes that only some may read.

use crate::kinds::row;
use crate::resource::{Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![row("", "v1", "Secret", "secrets", &Plain)]
}
