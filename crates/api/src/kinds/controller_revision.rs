//! `apps/v1 ControllerRevision`: one immutable state of a workload.

use crate::kinds::row;
use crate::resource::{Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![row("apps", "v1", "ControllerRevision", "controllerrevisions", &Plain)]
}
