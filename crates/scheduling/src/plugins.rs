//! The plugins, in the order in which they are asked.

use crate::{config::ProfileConfig, framework::Plugin, profile::ProfileError};

mod default_preemption;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
pub mod priority_sort;
mod scheduling_gates;
mod taint_toleration;
pub mod volume_binding;
mod volume_restrictions;
mod volume_zone;

/// One plugin.
pub(crate) struct Row {
    /// The name in configuration.
    pub(crate) name: &'static str,
    /// How much its scores count by default.
    pub(crate) weight: i64,
    /// Makes it.
    pub(crate) build: fn(&ProfileConfig) -> Result<Box<dyn Plugin>, ProfileError>,
}

/// All plugins.
pub(crate) const REGISTRY: &[Row] = &[
    scheduling_gates::ROW,
    priority_sort::ROW,
    node_unschedulable::ROW,
    node_name::ROW,
    taint_toleration::ROW,
    node_affinity::ROW,
    node_ports::ROW,
    node_resources_fit::ROW,
    volume_restrictions::ROW,
    node_volume_limits::ROW,
    volume_binding::ROW,
    volume_zone::ROW,
    pod_topology_spread::ROW,
    inter_pod_affinity::ROW,
    default_preemption::ROW,
    node_resources_balanced_allocation::ROW,
    image_locality::ROW,
];
