//! What a workload file says. The files are data; what a step means is in the file named after it.

use kube::Client;
use serde::Deserialize;

/// A file of `bench/workloads`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// One thing to measure.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    Verbs(Verbs),
    List(List),
    Watch(Watch),
    PodStart(PodStart),
    Deployment(Deployment),
    Schedule(Schedule),
}

/// Create, get, update, patch and delete ConfigMaps, each verb on all of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verbs {
    pub(crate) objects: usize,
    pub(crate) concurrency: usize,
    /// Size of each object's data, in bytes.
    pub(crate) bytes: usize,
}

/// List ConfigMaps.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    pub(crate) objects: usize,
    pub(crate) bytes: usize,
    pub(crate) requests: usize,
    pub(crate) concurrency: usize,
}

/// Write while many watch; from the write's start to each watcher's event.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Watch {
    pub(crate) watchers: usize,
    pub(crate) writes: usize,
}

/// Pods, one at a time, from created to Running and to Ready.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PodStart {
    pub(crate) pods: usize,
    /// Longest pause before each pod, in milliseconds; 0 is back to back.
    pub(crate) pause_ms_max: u64,
    /// Seed of the pauses.
    #[serde(default)]
    pub(crate) seed: u64,
}

/// A Deployment from created to all replicas Ready, then scaled to nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deployment {
    pub(crate) replicas: i32,
    pub(crate) rounds: usize,
}

/// Pods onto fake nodes, from created to bound.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schedule {
    pub(crate) nodes: usize,
    pub(crate) pods: usize,
    pub(crate) concurrency: usize,
}

/// What pods run.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
}

/// Where a step runs.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) image: Image,
}
