//! What all parts of the kubelet share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use client::{Client, Informer};
use clock::Clock;
use cri::{ImageService, RuntimeService};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use parking_lot::Mutex;
use podlife::container::Place;
use podlife::dns::DnsFacts;

use crate::config::Config;
use crate::events::Events;
use crate::pods::Registry;
use crate::pulls::Pulls;
use crate::references::References;
use crate::status_writer::StatusWriter;
use crate::tokens::Tokens;

/// What the node can do right now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    /// Why pods cannot get a network; empty when they can.
    pub(crate) network: String,
    /// Why containers cannot run; empty when they can.
    pub(crate) runtime: String,
    /// What pods can have.
    pub(crate) allocatable: BTreeMap<String, Quantity>,
    /// The node's object, as last seen.
    pub(crate) node: Node,
}

/// What the node has too little of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    pub(crate) memory: bool,
    pub(crate) disk: bool,
    pub(crate) pids: bool,
}

/// See the module's text.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) client: Client,
    pub(crate) scope: task::Scope,
    pub(crate) runtime: Arc<dyn RuntimeService>,
    pub(crate) images: Arc<dyn ImageService>,
    pub(crate) events: Events,
    pub(crate) pods: Informer<Pod>,
    pub(crate) services: Informer<Service>,
    pub(crate) references: References,
    pub(crate) tokens: Tokens,
    pub(crate) pulls: Pulls,
    pub(crate) statuses: StatusWriter,
    pub(crate) registry: Arc<Registry>,
    pub(crate) readiness: ArcSwap<Readiness>,
    pub(crate) pressure: Mutex<Pressure>,
    /// Tells that the node's status has something new to say.
    pub(crate) node_changed: Arc<tokio::sync::Notify>,
    pub(crate) place: Place,
    pub(crate) runtime_name: String,
    pub(crate) host_ips: Vec<String>,
    pub(crate) cgroups: Option<linux::cgroup::Cgroups>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kubelet of {}", self.config.node_name)
    }
}

impl Shared {
    /// What DNS settings are made from; the node's own are read anew, because they change.
    pub(crate) fn dns_facts(&self) -> DnsFacts {
        let host = read_text(&self.config.resolv_conf);
        DnsFacts {
            cluster_servers: self.config.cluster_dns.iter().map(ToString::to_string).collect(),
            cluster_domain: self.config.cluster_domain.clone(),
            host: podlife::dns::parse_resolv_conf(&host),
        }
    }

    /// The node's own hosts file.
    pub(crate) fn hosts_file(&self) -> String {
        read_text(&self.config.hosts_file)
    }
}

/// The text of a file of the node; an absent one is empty, another failure is told.
fn read_text(path: &Path) -> String {
    match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "cannot read a file of the node");
            }
            String::new()
        }
    }
}
