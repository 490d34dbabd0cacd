//! The controllers: loops that carry out what the pure functions of `reconcile` decide.
//!
//! One file per controller, all of the same shape: informers feed keys into a work queue, a worker
//! gathers a snapshot, decides, acts. They speak to the API only, never to each other.

mod certificates;
mod claims;
mod cluster_role_aggregation;
mod cron_job;
mod daemon_set;
mod dependents;
mod deployment;
mod disruption;
mod dynamic;
mod endpoint_mirror;
mod endpoint_slice;
mod endpoints;
mod expectations;
mod garbage_collector;
mod job;
mod kinds;
mod limits;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod notes;
mod pod_control;
mod pod_gc;
mod replica_set;
mod replication_controller;
mod resource_quota;
mod revisions;
mod root_ca;
mod service_account;
mod slices;
mod stateful_set;
mod ttl_after_finished;
mod volume_binding;
mod volume_protection;

use client::Client;
use clock::Clock;

pub use certificates::Signing;

/// What every controller is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// The API, with the controllers' rights.
    pub client: Client,
    /// Time.
    pub clock: Clock,
    /// Ends the controllers.
    pub scope: task::Scope,
    /// Settings.
    pub config: Config,
}

/// What the controllers must be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Range that nodes get their pod ranges from.
    pub cluster_cidr: ipnet::IpNet,
    /// Prefix length of a node's range.
    pub node_mask: u8,
    /// Certificate authority of the API server, PEM: published in every namespace.
    pub root_ca_pem: String,
    /// Signs requested certificates; without, nobody does.
    pub signing: Option<Signing>,
}

/// Every controller. Adding one is one file and one line here.
const ALL: &[fn(&Context)] = &[
    certificates::start,
    cluster_role_aggregation::start,
    cron_job::start,
    daemon_set::start,
    deployment::start,
    disruption::start,
    endpoint_mirror::start,
    endpoint_slice::start,
    endpoints::start,
    garbage_collector::start,
    job::start,
    namespace::start,
    node_ipam::start,
    node_lifecycle::start,
    pod_gc::start,
    replica_set::start,
    replication_controller::start,
    resource_quota::start,
    root_ca::start,
    service_account::start,
    stateful_set::start,
    ttl_after_finished::start,
    volume_binding::start,
    volume_protection::start,
];

/// Starts every controller; they run until the context's scope ends.
pub fn start(context: &Context) {
    for start in ALL {
        start(context);
    }
}
