//! `keelson server`: the control plane and this machine's node, in one process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use apiserver::{Config, Server, User};
use clock::Clock;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::backend::{self, AnyStore};
use crate::config::ServerConfig;
use crate::dialer::Dialer;
use crate::join::{self, ClusterFacts};
use crate::node::{self, NodeClients, NodeConfig};
use crate::pki::Pki;
use crate::serving::{KUBELET_CLIENT, Serving};
use crate::{housekeeping, lead, logging, manifests, snapshot};

/// How long the end may take before what still runs is cut off.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// Runs until a signal ends it.
///
/// # Errors
/// Something that is needed from the start cannot be had.
pub(crate) async fn run(config: ServerConfig) -> anyhow::Result<()> {
    logging::start();
    let scope = task::Scope::new();
    let mut terminate = signal(SignalKind::terminate()).context("wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for signals")?;
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("make {}", config.data_dir.display()))?;
    let dialer = Dialer::default();
    let clock = Clock::system();
    let pki = Arc::new(Pki::open(&config.data_dir, clock.now())?);
    let serving = Serving { pki: Arc::clone(&pki), clock, scope: scope.child() };
    let server = start_control_plane(&config, &serving, dialer.clone(), &scope).await?;
    publish_dns(&config, &server).await?;
    join::publish(&server, &ClusterFacts::of_server(&config, &pki)).await?;
    let mut leading = lead::start(&config, &pki, &server, &scope)?;
    let calling = component(&server, KUBELET_CLIENT, &[], &scope);
    dialer.set_others(calling.informer(), serving.kubelet_client()?);
    start_manifests(&config, &server, &scope)?;
    if config.agent {
        let node = NodeConfig::of_server(&config);
        let clients = node_clients(&server, &node.node_name, &scope);
        say(&format!("node {} starts", node.node_name));
        let marking = component(&server, "system:apiserver", &["system:masters"], &scope);
        node::mark_control_plane(&marking, &node.node_name, &scope);
        let tls = serving.kubelet(&config)?;
        let name = node.node_name.clone();
        let running = node::start(node, clients, tls, &scope).await?;
        dialer.set_local(name, running.kubelet.clone());
        running.ready().await?;
    }
    housekeeping::start(Clock::system(), &scope);
    say(&format!("ready: export KUBECONFIG={}", config.write_kubeconfig.display()));
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Some(error) = leading.recv() => Err(error),
    };
    drop(server);
    if !scope.finish(SHUTDOWN_MAX).await {
        tracing::warn!("some tasks did not end in time");
    }
    ended
}

#[expect(clippy::print_stderr, reason = "progress is for the person at the terminal")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

async fn start_control_plane(
    config: &ServerConfig,
    serving: &Serving,
    dialer: Dialer,
    scope: &task::Scope,
) -> anyhow::Result<Arc<Server>> {
    let (pki, clock) = (&serving.pki, serving.clock.clone());
    let store = open_store(config, pki, &clock).await?;
    snapshot::socket::serve(&config.data_dir, Arc::clone(&store), clock.clone(), scope)?;
    let advertise = SocketAddr::new(config.advertise_address, config.https_listen_port);
    let front_proxy = crate::front_proxy::open(&config.data_dir, serving)?;
    let tls = serving.api_server(config, &front_proxy.ca_pem)?;
    let api_config = Config {
        advertise,
        service_cidr: config.service_cidr,
        node_ports: config.node_ports,
        client_ca_pem: pki.client.certificate_pem.clone(),
        token_issuer: Arc::clone(&pki.tokens),
        static_tokens: vec![(join::secret(config, pki)?, join::bootstrap_user())],
        dialer: Arc::new(dialer),
        front_proxy: Some(front_proxy),
        audit: config.audit.clone(),
        seats: config.seats,
    };
    let listen = SocketAddr::new(config.bind_address, config.https_listen_port);
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let server = Server::start(api_config, store, clock, scope.clone())
        .await
        .context("start the API server")?;
    scope.spawn("api server", apiserver::serve::serve(Arc::clone(&server), listener, tls));
    serving.kubeconfig(config)?;
    Ok(server)
}

/// The server's own store, or the one in etcd that it shares.
async fn open_store(config: &ServerConfig, pki: &Pki, clock: &Clock) -> anyhow::Result<AnyStore> {
    if let Some(etcd) = &config.etcd {
        backend::take_data_dir(&config.data_dir)?;
        let store: AnyStore = Arc::new(backend::open_etcd(etcd).await?);
        backend::agree_on_authorities(&*store, pki, &config.data_dir).await?;
        return Ok(store);
    }
    if !config.fsync {
        say(
            "warning: --fsync=false: writes are acknowledged before they are on the disk; when the machine crashes \
             or loses power, the last ones are lost and the store may be damaged. For clusters to throw away.",
        );
    }
    let store = backend::open_embedded(&config.data_dir, config.fsync, clock.clone()).await?;
    Ok(Arc::new(store))
}

/// The Service under whose address every node answers DNS itself.
async fn publish_dns(config: &ServerConfig, server: &Arc<Server>) -> anyhow::Result<()> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {
            "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true",
            "kubernetes.io/name": "CoreDNS"}},
        "spec": {"clusterIP": config.cluster_dns.to_string(), "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]},
    });
    server.ensure("services", service).await.context("publish the cluster's DNS")
}

/// A component's own way into the API, under its own name.
pub(crate) fn component(
    server: &Arc<Server>,
    user: &str,
    groups: &[&str],
    scope: &task::Scope,
) -> client::Client {
    let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    groups.push("system:authenticated".to_owned());
    let user = User { name: user.to_owned(), groups, ..User::default() };
    apiserver::in_process::client(server, user, scope.child())
}

fn node_clients(server: &Arc<Server>, node: &str, scope: &task::Scope) -> NodeClients {
    let user = format!("system:node:{node}");
    NodeClients {
        kubelet: component(server, &user, &["system:nodes"], scope),
        proxy: component(server, "system:kube-proxy", &[], scope),
        dns: component(server, "system:coredns", &[], scope),
    }
}

/// The folder of manifests is the administrator's, so it has the administrator's rights.
fn start_manifests(
    config: &ServerConfig,
    server: &Arc<Server>,
    scope: &task::Scope,
) -> anyhow::Result<()> {
    let client = component(server, "system:keelson-manifests", &["system:masters"], scope);
    let (kind, name) = match config.agent {
        true => ("Node", config.node_name.clone()),
        false => ("Namespace", "kube-system".to_owned()),
    };
    let subject = client::Subject {
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        name,
        ..client::Subject::default()
    };
    let folder = manifests::Config {
        folder: config.manifests_dir.clone(),
        memory: config.data_dir.join("manifests.applied.json"),
        subject,
    };
    manifests::start(folder, &client, Clock::system(), scope)
}
