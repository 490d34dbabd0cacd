//! The workload controllers against a real API server in the same process; pods are run by a double that
//! only reports them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "workloads/cluster.rs"]
mod cluster;
#[path = "workloads/deployments.rs"]
mod deployments;
#[path = "workloads/garbage.rs"]
mod garbage;
#[path = "workloads/jobs.rs"]
mod jobs;
#[path = "workloads/others.rs"]
mod others;
#[path = "workloads/sets.rs"]
mod sets;
