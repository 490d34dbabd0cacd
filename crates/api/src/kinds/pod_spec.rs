//! What everything with pods in it shares: defaults, validation and arithmetic of a pod's spec.
//!
//! `spec` is a `PodSpec` tree throughout: `/spec` of a Pod, `/spec/template/spec` of a workload.

pub(super) mod affinity;
pub(super) mod containers;
pub(super) mod defaults;
pub(super) mod environment;
pub(super) mod handlers;
pub(super) mod placement;
pub(super) mod resources;
pub(super) mod security;
pub(super) mod template;
pub(super) mod validate;
pub(super) mod volume_drivers;
pub(super) mod volume_sources;
pub(super) mod volumes;
pub(super) mod warnings;

use serde_json::Value;

/// The three lists of containers in a pod's spec.
pub(super) const CONTAINER_LISTS: [&str; 3] =
    ["initContainers", "containers", "ephemeralContainers"];

/// Changes every container of a spec.
pub(super) fn each_container(spec: &mut Value, mut change: impl FnMut(&mut Value)) {
    for list in CONTAINER_LISTS {
        super::tree::each(spec, list, &mut change);
    }
}
