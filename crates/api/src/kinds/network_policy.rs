//! `networking.k8s.io/v1 NetworkPolicy`: who may talk to which pods.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["netpol"]),
        has_generation: true,
        ..row("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", &Plain)
    }]
}
