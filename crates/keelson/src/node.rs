//! This machine's node: pod network, runtime, kubelet, service proxy.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use client::{Client, WatchScope};
use clock::Clock;
use cri::PodNetwork;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kubelet::Kubelet;
use kubelet::server::access::Delegated;
use podnet::BridgeNetwork;
use runtime::Runtime;
use serde_json::json;
use tokio::net::TcpListener;

use crate::config::{NodeSettings, ServerConfig};
use crate::node_routes;

/// What is kept only until the machine boots again.
pub(crate) const RUN_DIR: &str = "/run/keelson";
/// The control group of all pods.
const CGROUP_ROOT: &str = "/keelson";
/// How long the node may take to become ready before the start is reported as failed.
const READY_MAX: Duration = Duration::from_secs(120);

const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// What a node needs to know of its cluster.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig {
    pub data_dir: PathBuf,
    pub run_dir: PathBuf,
    pub node_name: String,
    pub node_ip: IpAddr,
    pub cluster_cidr: IpNet,
    pub service_cidr: IpNet,
    pub cluster_dns: IpAddr,
    pub cluster_domain: String,
    pub settings: NodeSettings,
}

impl NodeConfig {
    /// The node of a server's own machine.
    pub(crate) fn of_server(config: &ServerConfig) -> Self {
        Self {
            data_dir: config.data_dir.clone(),
            run_dir: run_dir(&config.data_dir),
            node_name: config.node_name.clone(),
            node_ip: config.node_ip,
            cluster_cidr: config.cluster_cidr,
            service_cidr: config.service_cidr,
            cluster_dns: config.cluster_dns,
            cluster_domain: config.cluster_domain.clone(),
            settings: config.node.clone(),
        }
    }
}

/// The run folder that belongs to a data folder: the usual one for the usual one.
pub(crate) fn run_dir(data_dir: &Path) -> PathBuf {
    name_of(data_dir).map_or_else(|| RUN_DIR.into(), |name| Path::new(RUN_DIR).join(name))
}

/// The control group above all pods of a node: the usual one for the usual data folder, so that two nodes on
/// one machine do not sweep each other's.
pub(crate) fn cgroup_root(data_dir: &Path) -> String {
    name_of(data_dir).map_or_else(|| CGROUP_ROOT.to_owned(), |name| format!("{CGROUP_ROOT}-{name}"))
}

/// A name for what belongs to a data folder; `None` for the usual one.
fn name_of(data_dir: &Path) -> Option<String> {
    if data_dir == Path::new(crate::config::DATA_DIR) {
        return None;
    }
    let text = data_dir.to_string_lossy();
    let name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Some(name.trim_matches('-').to_owned())
}

/// The clients of a node's components, each under its own name.
pub(crate) struct NodeClients {
    pub kubelet: Client,
    pub proxy: Client,
    pub dns: Client,
}

/// A running node.
pub(crate) struct RunningNode {
    client: Client,
    name: String,
    /// Its kubelet.
    pub kubelet: Kubelet,
}

/// # Errors
/// Names everything that the kernel lacks, with what to do about each.
fn require_kernel() -> anyhow::Result<()> {
    let missing = linux::requirements::missing();
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = missing.iter().map(|missing| format!("\n  {missing}")).collect();
    anyhow::bail!("this machine lacks what a node needs:{}", list.concat())
}

/// Starts everything that a node is, in `scope`. `tls` is what the kubelet shows on its port.
///
/// # Errors
/// The machine lacks something that a node needs.
pub(crate) async fn start(
    config: NodeConfig,
    clients: NodeClients,
    tls: Arc<rustls::ServerConfig>,
    scope: &task::Scope,
) -> anyhow::Result<RunningNode> {
    let clock = Clock::system();
    require_kernel()?;
    std::fs::create_dir_all(&config.run_dir)
        .with_context(|| format!("make {}", config.run_dir.display()))?;
    let network = open_network(&config)?;
    give_pod_range(&config, &clients.kubelet, network.clone(), scope);
    let cluster = vec![config.cluster_cidr];
    let (own, routing) = (&config.node_name, network.clone());
    // Of a node's identities the proxy's is the one that may read all nodes.
    node_routes::start(own, cluster, routing, &clients.proxy, clock.clone(), scope);
    let options = runtime::Options::new(&config.data_dir, &config.run_dir);
    let pod_network: Arc<dyn PodNetwork> = Arc::new(network);
    let runtime = Runtime::open(options, Some(pod_network), clock.clone(), scope)
        .await
        .context("open the container runtime")?;
    let kubelet_config = kubelet_config(&config, clock.clone());
    let (service, images) = (Arc::new(runtime.clone()), Arc::new(runtime));
    let kubelet = Kubelet::start(kubelet_config, clients.kubelet.clone(), service, images, scope)
        .await
        .context("start the kubelet")?;
    let access = Arc::new(Delegated::new(clients.kubelet.clone(), &config.node_name));
    let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), config.settings.kubelet_port);
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    let serving = kubelet.clone();
    scope.spawn_until_cancelled("kubelet server", async move {
        serving.serve_tls(listener, tls, access).await;
    });
    start_proxy(&config, clients.proxy, clock.clone(), scope);
    start_dns(&config, clients.dns, clock, scope);
    Ok(RunningNode { client: clients.kubelet, name: config.node_name, kubelet })
}

fn start_proxy(config: &NodeConfig, client: Client, clock: Clock, scope: &task::Scope) {
    let (proxying, config) = (scope.child(), proxy_config(config));
    scope.spawn("service proxy", async move {
        if let Err(error) = proxy::run(config, client, clock, proxying).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the service proxy ended");
        }
    });
}

fn start_dns(config: &NodeConfig, client: Client, clock: Clock, scope: &task::Scope) {
    let answering = scope.child();
    let config = dns::Config {
        domain: config.cluster_domain.clone(),
        ..dns::Config::new([config.cluster_dns])
    };
    scope.spawn("name server", async move {
        if let Err(error) = dns::run(config, client, clock, answering).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the name server ended");
        }
    });
}

fn open_network(config: &NodeConfig) -> anyhow::Result<BridgeNetwork> {
    let state = config.data_dir.join("network");
    std::fs::create_dir_all(&state).with_context(|| format!("make {}", state.display()))?;
    let network = podnet::Config {
        cluster_cidrs: vec![config.cluster_cidr],
        service_cidrs: vec![config.service_cidr],
        node_addresses: vec![config.cluster_dns],
        ..podnet::Config::new(state.join("pods.json"))
    };
    BridgeNetwork::open(network).context("open the pod network")
}

/// Marks a server's own node. A node may not give itself a role, so the control plane does it.
pub(crate) fn mark_control_plane(client: &Client, node: &str, scope: &task::Scope) {
    let own = WatchScope::all::<Node>().fields(format!("metadata.name={node}"));
    let nodes = client.informer_of::<Node>(own);
    let (client, name) = (client.clone(), node.to_owned());
    scope.spawn_until_cancelled("control plane label", async move {
        let mut changed = nodes.changed();
        loop {
            let labels =
                nodes.get("", &name).map(|node| node.metadata.labels.clone().unwrap_or_default());
            if labels.is_some_and(|labels| !labels.contains_key(CONTROL_PLANE)) {
                let patch = json!({"metadata": {"labels": {CONTROL_PLANE: "true"}}});
                let patched = client
                    .all::<Node>()
                    .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                    .await;
                if let Err(error) = patched {
                    tracing::warn!(%error, "cannot mark the node as part of the control plane");
                }
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Tells the pod network its range as soon as the node has one.
fn give_pod_range(
    config: &NodeConfig,
    client: &Client,
    network: BridgeNetwork,
    scope: &task::Scope,
) {
    let own = WatchScope::all::<Node>().fields(format!("metadata.name={}", config.node_name));
    let nodes = client.informer_of::<Node>(own);
    let name = config.node_name.clone();
    scope.spawn_until_cancelled("pod range", async move {
        let mut changed = nodes.changed();
        let mut given: Vec<IpNet> = Vec::new();
        loop {
            let ranges = nodes.get("", &name).map(|node| pod_ranges(&node)).unwrap_or_default();
            if !ranges.is_empty() && ranges != given {
                let (network, wanted) = (network.clone(), ranges.clone());
                let set = tokio::task::spawn_blocking(move || network.set_pod_cidrs(&wanted)).await;
                match set {
                    Ok(Ok(())) => given = ranges,
                    Ok(Err(error)) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "cannot set up the pod network"
                        );
                    }
                    Err(panic) => tracing::error!(%panic, "setting up the pod network panicked"),
                }
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    });
}

/// The ranges of a node's pods.
pub(crate) fn pod_ranges(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let all = spec.pod_cidrs.iter().flatten().chain(spec.pod_cidr.as_ref());
    let mut ranges: Vec<IpNet> = Vec::new();
    for range in all.filter_map(|text| text.parse().ok()) {
        if !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    ranges
}

fn kubelet_config(config: &NodeConfig, clock: Clock) -> kubelet::Config {
    kubelet::Config {
        node_ips: vec![config.node_ip],
        root: config.data_dir.join("kubelet"),
        log_root: config.data_dir.join("log"),
        cgroup_prefix: cgroup_root(&config.data_dir),
        cluster_dns: vec![config.cluster_dns],
        cluster_domain: config.cluster_domain.clone(),
        labels: config.settings.labels.iter().cloned().collect(),
        port: config.settings.kubelet_port,
        eviction: config.settings.eviction.clone(),
        image_collection: config.settings.image_collection,
        version: "v1.37.0+keelson".to_owned(),
        clock,
        ..kubelet::Config::new(&config.node_name)
    }
}

fn proxy_config(config: &NodeConfig) -> proxy::Config {
    proxy::Config {
        cluster_cidrs: vec![config.cluster_cidr],
        service_cidrs: vec![config.service_cidr],
        served_by_node: vec![config.cluster_dns],
        ..proxy::Config::new(&config.node_name)
    }
}

impl RunningNode {
    /// Resolves when the node is ready.
    ///
    /// # Errors
    /// It takes too long; the message says what the node lacks.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let own = WatchScope::all::<Node>().fields(format!("metadata.name={}", self.name));
        let nodes = self.client.informer_of::<Node>(own);
        let mut changed = nodes.changed();
        let waiting = async {
            loop {
                let ready = nodes.get("", &self.name).and_then(|node| ready_condition(&node));
                if ready.is_some_and(|(status, _)| status == "True")
                    || changed.changed().await.is_err()
                {
                    return;
                }
            }
        };
        if tokio::time::timeout(READY_MAX, waiting).await.is_ok() {
            return Ok(());
        }
        let why = nodes.get("", &self.name).and_then(|node| ready_condition(&node));
        let why = why.map_or_else(|| "it has not registered".to_owned(), |(_, message)| message);
        anyhow::bail!("node {} is not ready: {why}", self.name)
    }
}

fn ready_condition(node: &Node) -> Option<(String, String)> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some((ready.status.clone(), ready.message.clone().unwrap_or_default()))
}
