//! Placement seen from outside: a cluster in, a decision or a message out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "scheduling/affinity.rs"]
mod affinity;
#[path = "scheduling/cluster.rs"]
mod cluster;
#[path = "scheduling/filters.rs"]
mod filters;
#[path = "scheduling/hints.rs"]
mod hints;
#[path = "scheduling/oracle.rs"]
mod oracle;
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
