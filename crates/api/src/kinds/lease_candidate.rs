//! `coordination.k8s.io LeaseCandidate`: who may lead.

use crate::kinds::row;
use crate::resource::{Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            create_on_update: true,
            off_by_default: true,
            ..row("coordination.k8s.io", "v1alpha2", "LeaseCandidate", "leasecandidates", &Plain)
                .stored_as("coordination.k8s.io", "v1beta1", "leasecandidates")
        },
        Resource {
            create_on_update: true,
            off_by_default: true,
            ..row("coordination.k8s.io", "v1beta1", "LeaseCandidate", "leasecandidates", &Plain)
        },
    ]
}
