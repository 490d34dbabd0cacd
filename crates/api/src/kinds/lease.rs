//! `coordination.k8s.io/v1 Lease`: who leads, who is alive.

use crate::kinds::row;
use crate::resource::{Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        create_on_update: true,
        ..row("coordination.k8s.io", "v1", "Lease", "leases", &Plain)
    }]
}
