//! `keelson server`: the control plane and this machine's node, in one process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use apiserver::{Config, Server, User};
use clock::Clock;
use rustls::server::WebPkiClientVerifier;
use serde_json::json;
use store::embedded::{EmbeddedOptions, EmbeddedStore};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::ServerConfig;
use crate::node::{self, LocalDialer, NodeClients, NodeConfig};
use crate::pki::{Leaf, Pki, write_private};
use crate::{housekeeping, kubeconfig, logging};

/// How long the end may take before what still runs is cut off.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// Runs until a signal ends it.
///
/// # Errors
/// Something that is needed from the start cannot be had.
pub async fn run(config: ServerConfig) -> anyhow::Result<()> {
    logging::start();
    let scope = task::Scope::new();
    let mut terminate = signal(SignalKind::terminate()).context("wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for signals")?;
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("make {}", config.data_dir.display()))?;
    let dialer = LocalDialer::default();
    let pki = Pki::open(&config.data_dir)?;
    let server = start_control_plane(&config, &pki, dialer.clone(), &scope).await?;
    publish_dns(&config, &server).await?;
    start_controllers(&config, &pki, &server, &scope);
    if config.agent {
        let node = NodeConfig::of_server(&config);
        let clients = node_clients(&server, &node.node_name, &scope);
        say(&format!("node {} starts", node.node_name));
        let marking = component(&server, "system:apiserver", &["system:masters"], &scope);
        node::mark_control_plane(&marking, &node.node_name, &scope);
        let tls = kubelet_tls(&config, &pki)?;
        node::start(node, clients, tls, &dialer, &scope).await?.ready().await?;
    }
    housekeeping::start(Clock::system(), &scope);
    say(&format!("ready: export KUBECONFIG={}", config.write_kubeconfig.display()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drop(server);
    if !scope.finish(SHUTDOWN_MAX).await {
        tracing::warn!("some tasks did not end in time");
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "progress is for the person at the terminal")]
fn say(line: &str) {
    eprintln!("{line}");
}

async fn start_control_plane(
    config: &ServerConfig,
    pki: &Pki,
    dialer: LocalDialer,
    scope: &task::Scope,
) -> anyhow::Result<Arc<Server>> {
    let clock = Clock::system();
    let options = EmbeddedOptions {
        fsync: config.fsync,
        clock: clock.clone(),
        ..EmbeddedOptions::new(config.data_dir.join("store"))
    };
    if !config.fsync {
        say("warning: --fsync=false: a power cut loses the last seconds of writes");
    }
    let store = EmbeddedStore::open(options).await.context("open the store")?;
    let advertise = SocketAddr::new(config.advertise_address, config.https_listen_port);
    let api_config = Config {
        advertise,
        service_cidr: config.service_cidr,
        node_ports: config.node_ports,
        client_ca_pem: pki.client.certificate_pem.clone(),
        token_issuer: Arc::clone(&pki.tokens),
        static_tokens: join_token(config),
        dialer: Arc::new(dialer),
        front_proxy: Some(crate::front_proxy::open(&config.data_dir)?),
    };
    let listen = SocketAddr::new(config.bind_address, config.https_listen_port);
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let server = Server::start(api_config, Arc::new(store), clock, scope.clone())
        .await
        .context("start the API server")?;
    let tls = server_tls(config, pki)?;
    scope.spawn("api server", apiserver::serve::serve(Arc::clone(&server), listener, tls));
    let admin = pki.client.client("system:admin", &["system:masters"])?;
    let text =
        kubeconfig::render(&format!("https://{advertise}"), &pki.server.certificate_pem, &admin);
    if let Some(folder) = config.write_kubeconfig.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    write_private(&config.write_kubeconfig, &text)?;
    Ok(server)
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
fn component(
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
        kubelet: component(server, &user, &["system:nodes", "system:masters"], scope),
        proxy: component(server, "system:kube-proxy", &["system:masters"], scope),
        dns: component(server, "system:kube-dns", &["system:masters"], scope),
    }
}

fn start_controllers(config: &ServerConfig, pki: &Pki, server: &Arc<Server>, scope: &task::Scope) {
    let context = controllers::Context {
        client: component(server, "system:kube-controller-manager", &["system:masters"], scope),
        clock: Clock::system(),
        scope: scope.child(),
        config: controllers::Config {
            cluster_cidr: config.cluster_cidr,
            node_mask: if config.cluster_cidr.addr().is_ipv4() { 24 } else { 64 },
            root_ca_pem: pki.server.certificate_pem.clone(),
        },
    };
    controllers::start(&context);
    let client = component(server, "system:kube-scheduler", &["system:masters"], scope);
    let scheduling = scope.child();
    scope.spawn("scheduler", async move {
        let (clock, random) = (Clock::system(), clock::Random::system());
        scheduler::run(client, clock, random, scheduler::Config::default(), scheduling).await;
    });
}

fn join_token(config: &ServerConfig) -> Vec<(String, User)> {
    let user = User {
        name: "system:bootstrap:agent".to_owned(),
        groups: vec!["system:bootstrappers".to_owned(), "system:authenticated".to_owned()],
        ..User::default()
    };
    config.token.iter().map(|token| (token.clone(), user.clone())).collect()
}

fn server_tls(config: &ServerConfig, pki: &Pki) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let domain = &config.cluster_domain;
    let mut names: Vec<String> = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        &format!("kubernetes.default.svc.{domain}"),
        "localhost",
        &config.node_name,
    ]
    .map(str::to_owned)
    .to_vec();
    let mut addresses = vec![
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        config.advertise_address,
        config.node_ip,
        apiserver::first_address(&config.service_cidr),
    ];
    for san in &config.tls_san {
        match san.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push(san.clone()),
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    let leaf = pki.server.server("kube-apiserver", &names, &addresses)?;
    let mut tls = mutual_tls(pki, &leaf)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

fn kubelet_tls(config: &ServerConfig, pki: &Pki) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let name = format!("system:node:{}", config.node_name);
    let names = std::slice::from_ref(&config.node_name);
    let leaf = pki.server.server(&name, names, &[config.node_ip])?;
    Ok(Arc::new(mutual_tls(pki, &leaf)?))
}

/// Shows `leaf`, and checks client certificates where clients have one.
fn mutual_tls(pki: &Pki, leaf: &Leaf) -> anyhow::Result<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(
        Arc::new(pki.client.roots()?),
        Arc::clone(&provider),
    )
    .allow_unauthenticated()
    .build()
    .context("check client certificates")?;
    let (chain, key) = leaf.chain();
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .context("set up TLS")
}
