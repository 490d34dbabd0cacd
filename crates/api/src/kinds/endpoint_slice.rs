//! `discovery.k8s.io/v1 EndpointSlice`: some of the addresses behind a Service.

use crate::kinds::row;
use crate::resource::{Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        has_generation: true,
        ..row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", &Plain)
    }]
}
