//! `keelson agent`: this machine as a further node of a cluster whose server runs elsewhere.
//!
//! The token names the cluster's authority and lets the agent ask for the kubelet's certificate, as
//! upstream's nodes bootstrap; with that certificate it asks for those of its other components. Not here: what
//! the server does for agents ([`crate::join`]).

mod identity;
mod remote;
pub(crate) mod token;
mod trust;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use client::Client;
use clock::Clock;
use http::Uri;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use tokio::signal::unix::{SignalKind, signal};

use self::identity::{Identities, Wanted};
use self::token::JoinToken;
use crate::config::AgentConfig;
use crate::join::{self, ClusterFacts};
use crate::node::{self, NodeClients, NodeConfig};
use crate::pki::write_private;
use crate::renewal::Shown;
use crate::serving::mutual_tls;
use crate::{logging, server};

/// How long the end may take before what still runs is cut off.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// Between two attempts to reach the server.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Runs until a signal ends it.
///
/// # Errors
/// Something that is needed from the start cannot be had; an absent server is waited for.
pub(crate) async fn run(config: AgentConfig) -> anyhow::Result<()> {
    logging::start();
    let scope = task::Scope::new();
    let mut terminate = signal(SignalKind::terminate()).context("wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for signals")?;
    let started = tokio::select! {
        started = start(&config, &scope) => started,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    if started.is_ok() && !scope.is_cancelled() {
        server::say(&format!("ready: node {} has joined {}", config.node_name, config.server));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    if !scope.finish(SHUTDOWN_MAX).await {
        tracing::warn!("some tasks did not end in time");
    }
    started
}

async fn start(config: &AgentConfig, scope: &task::Scope) -> anyhow::Result<()> {
    let clock = Clock::system();
    let folder = config.data_dir.join("pki");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let token = JoinToken::parse(&config.token)?;
    server::say(&format!("node {} joins {}", config.node_name, config.server));
    let authority = authority(config, &token, &folder, &clock).await?;
    let ways = Ways { server: config.server.clone(), authority };
    let identities = Identities { folder, clock: clock.clone(), scope: scope.child() };
    let bootstrap = ways.by_token(&token.secret)?;
    let (shown, kubelet) = ways.by_certificate("kubelet")?;
    identities.show(&kubelet_client(config), &shown, &bootstrap, &kubelet).await?;
    let facts = facts(&kubelet, &clock).await?;
    let (shown, proxy) = ways.by_certificate("kube-proxy")?;
    identities.show(&component("proxy", "system:kube-proxy"), &shown, &kubelet, &kubelet).await?;
    let (shown, dns) = ways.by_certificate("coredns")?;
    identities.show(&component("dns", "system:coredns"), &shown, &kubelet, &kubelet).await?;
    let serving = Shown::nothing();
    let tls = mutual_tls(crate::pki::roots(&facts.client_ca_pem)?, Arc::clone(&serving))?;
    let remote = |client: kube::Client| Client::remote(client, scope.child());
    let clients =
        NodeClients { kubelet: remote(kubelet.clone()), proxy: remote(proxy), dns: remote(dns) };
    let node = node_config(config, &facts);
    let running = node::start(node, clients, Arc::new(tls), scope).await?;
    running.ready().await?;
    // Only now does the cluster know the addresses that this certificate may name.
    let wanted = kubelet_serving(config);
    let what = identities.show(&wanted, &serving, &kubelet, &kubelet).await;
    what.context("get the kubelet's serving certificate")
}

/// The ways to the server: one for each identity.
struct Ways {
    server: Uri,
    authority: String,
}

impl Ways {
    fn by_token(&self, secret: &str) -> anyhow::Result<kube::Client> {
        remote::client(&self.server, &self.authority, Shown::nothing(), Some(secret), "kubelet")
    }

    /// A client whose certificate is shown later.
    fn by_certificate(&self, agent: &'static str) -> anyhow::Result<(Arc<Shown>, kube::Client)> {
        let shown = Shown::nothing();
        let client =
            remote::client(&self.server, &self.authority, Arc::clone(&shown), None, agent)?;
        Ok((shown, client))
    }
}

/// The certificate of the cluster's authority: the one that an earlier run learned, the one that the user
/// names, or the one that the token names.
async fn authority(
    config: &AgentConfig,
    token: &JoinToken,
    folder: &Path,
    clock: &Clock,
) -> anyhow::Result<String> {
    let path = folder.join("server-ca.crt");
    if let Some(named) = &config.server_ca {
        return std::fs::read_to_string(named).with_context(|| format!("read {}", named.display()));
    }
    if let Ok(known) = std::fs::read_to_string(&path) {
        return Ok(known);
    }
    let Some(digest) = &token.digest else {
        bail!(
            "the token does not name its cluster: use the one in {} of the server's data folder, or name the server's authority with --server-ca",
            join::TOKEN_FILE
        );
    };
    let mut said = String::new();
    loop {
        match trust::learn(&config.server, digest).await {
            Ok(pem) => {
                write_private(&path, &pem)?;
                return Ok(pem);
            }
            Err(error) => {
                let text = format!("{error:#}");
                if text != said {
                    tracing::warn!("the server is not there yet: {text}");
                    said = text;
                }
            }
        }
        clock.sleep(RETRY_PAUSE).await;
    }
}

/// What every node must know of its cluster.
async fn facts(client: &kube::Client, clock: &Clock) -> anyhow::Result<ClusterFacts> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), join::NAMESPACE);
    loop {
        match maps.get(join::FACTS).await {
            Ok(map) => return ClusterFacts::read(&map),
            Err(kube::Error::Api(status)) if status.code == 401 => {
                bail!(
                    "the server does not know this node's certificate: remove the folder pki of the data folder to join anew"
                );
            }
            Err(error) => tracing::warn!(%error, "cannot ask for the cluster's settings yet"),
        }
        clock.sleep(RETRY_PAUSE).await;
    }
}

fn user(config: &AgentConfig) -> String {
    format!("system:node:{}", config.node_name)
}

fn kubelet_client(config: &AgentConfig) -> Wanted {
    Wanted {
        what: "kubelet-client",
        signer: "kubernetes.io/kube-apiserver-client-kubelet",
        common_name: user(config),
        organization: Some("system:nodes"),
        names: Vec::new(),
        addresses: Vec::new(),
        purpose: "client auth",
    }
}

fn kubelet_serving(config: &AgentConfig) -> Wanted {
    Wanted {
        what: "kubelet-serving",
        signer: "kubernetes.io/kubelet-serving",
        names: vec![config.node_name.clone()],
        addresses: vec![config.node_ip],
        purpose: "server auth",
        ..kubelet_client(config)
    }
}

fn component(what: &'static str, user: &str) -> Wanted {
    Wanted {
        what,
        signer: "kubernetes.io/kube-apiserver-client",
        common_name: user.to_owned(),
        organization: None,
        names: Vec::new(),
        addresses: Vec::new(),
        purpose: "client auth",
    }
}

fn node_config(config: &AgentConfig, facts: &ClusterFacts) -> NodeConfig {
    NodeConfig {
        data_dir: config.data_dir.clone(),
        run_dir: node::run_dir(&config.data_dir),
        node_name: config.node_name.clone(),
        node_ip: config.node_ip,
        cluster_cidr: facts.cluster_cidr,
        service_cidr: facts.service_cidr,
        cluster_dns: facts.cluster_dns,
        cluster_domain: facts.cluster_domain.clone(),
        settings: config.node.clone(),
    }
}

/// The address of a node: what the user says, else that of the default route's link.
pub(crate) fn node_ip(named: Option<IpAddr>) -> anyhow::Result<IpAddr> {
    named.map_or_else(crate::network::default_address, Ok)
}
