//! Placement seen from outside: a cluster in, a decision or a message out.

#[path = "scheduling/cluster.rs"]
mod cluster;
#[path = "scheduling/affinity.rs"]
mod affinity;
#[path = "scheduling/filters.rs"]
mod filters;
#[path = "scheduling/preemption.rs"]
mod preemption;
#[path = "scheduling/properties.rs"]
mod properties;
#[path = "scheduling/scores.rs"]
mod scores;
#[path = "scheduling/spread.rs"]
mod spread;
#[path = "scheduling/volumes.rs"]
mod volumes;
