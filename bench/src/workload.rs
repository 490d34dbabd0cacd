//! What a workload file says. The files are data; what a step means is in the file named after it.

use kube::Client;
use serde::Deserialize;

use crate::raw::Target;
use crate::server::Server;

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
    Memory(Memory),
    List(List),
    Watch(Watch),
    PodStart(PodStart),
    Deployment(Deployment),
    Schedule(Schedule),
    Namespaces(Namespaces),
    Definitions(Definitions),
}

/// What the verbs are tried on.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Resource {
    #[default]
    Configmaps,
    Pods,
}

impl Resource {
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Configmaps => "configmaps",
            Self::Pods => "pods",
        }
    }
}

/// Create, get, update, patch and delete objects, each verb on all of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verbs {
    #[serde(default)]
    pub(crate) resource: Resource,
    pub(crate) objects: usize,
    pub(crate) concurrency: usize,
    /// Size of each object's payload, in bytes.
    pub(crate) bytes: usize,
}

/// Create ConfigMaps, and see what the server takes for them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    pub(crate) objects: usize,
    pub(crate) bytes: usize,
    /// From the last creation to the second look.
    pub(crate) settle_seconds: u64,
}

/// List ConfigMaps.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    pub(crate) objects: usize,
    pub(crate) bytes: usize,
    pub(crate) requests: usize,
    /// How many lists run at a time, one measurement for each.
    pub(crate) clients: Vec<usize>,
}

/// Write while many watch; from the write's start to each watcher's event.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Watch {
    pub(crate) watchers: usize,
    pub(crate) writes: usize,
    /// Size of each object's payload, in bytes.
    pub(crate) bytes: usize,
    /// Without, one write follows the other.
    #[serde(default)]
    pub(crate) writes_per_second: Option<u32>,
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

/// A Deployment from created to all replicas Ready, then scaled to nothing until the last pod is gone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deployment {
    pub(crate) replicas: i32,
    pub(crate) rounds: usize,
    /// Pause before each round, in milliseconds: what the node does after a pod is gone is not the next one's.
    #[serde(default)]
    pub(crate) pause_ms: u64,
}

/// Namespaces, each with a ConfigMap, created and deleted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Namespaces {
    pub(crate) count: usize,
    pub(crate) concurrency: usize,
}

/// Definitions of custom resources, created until they are established, and deleted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definitions {
    pub(crate) count: usize,
    pub(crate) concurrency: usize,
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

impl Image {
    /// The example's web server.
    pub(crate) fn hello() -> Self {
        Self { name: "keelson.local/hello:latest".to_owned(), arguments: vec!["hello".to_owned()] }
    }
}

/// Where a step runs.
pub(crate) struct Context {
    pub(crate) client: Client,
    /// The server, for steps in which what the client costs would count.
    pub(crate) target: Target,
    /// Connections of their client.
    pub(crate) connections: usize,
    pub(crate) server: Server,
    pub(crate) namespace: String,
    pub(crate) image: Image,
}
