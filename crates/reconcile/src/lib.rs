//! What controllers decide: pure functions from what is to what should be done.
//!
//! One file per controller, tested by tables. No clock, no randomness, no I/O: time comes in as an
//! argument. The loops that act are in the crate `controllers`.

pub mod certificates;
pub mod claim;
pub mod cluster_role_aggregation;
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod disruption;
pub mod endpoint_mirror;
pub mod endpoints;
pub mod job;
pub mod labels;
pub mod namespace;
pub mod node_fit;
pub mod node_ipam;
pub mod node_lifecycle;
pub mod note;
pub mod ownership;
pub mod pod_gc;
pub mod pods;
pub mod replica_set;
pub mod revision;
pub mod stateful_set;
pub mod template;
pub mod ttl_after_finished;
pub mod volume_binding;
pub mod volume_protection;
