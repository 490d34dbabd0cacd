//! The loop: waits for changes, has them decided on, applies them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, Informer, WatchScope};
use clock::Clock;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use linux::nft::Monitor;
use netplan::service::{NodeInfo, Plan, decide};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::Config;
use crate::health::{HealthServers, Healthz};
use crate::kernel::{Proxy, ProxyError};
use crate::limits::{RETRY_PAUSE, SYNC_PAUSE_MAX, SYNC_PAUSE_MIN, VERIFY_PERIOD};

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// The proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kernel.
    #[error("cannot start the service proxy")]
    Kernel(#[source] ProxyError),
    /// Changes of others cannot be heard.
    #[error("cannot listen for changes of the kernel's packet rules")]
    Monitor(#[source] linux::netlink::NetlinkError),
    /// `/healthz` cannot be served.
    #[error("cannot serve health checks on {address}")]
    Healthz {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Runs the proxy of this node until `scope` is cancelled. The rules stay when it ends.
pub async fn run(
    config: Config,
    client: Client,
    clock: Clock,
    scope: task::Scope,
) -> Result<(), RunError> {
    let proxy = Proxy::open(&config).map_err(RunError::Kernel)?;
    let monitor = Monitor::open().map_err(RunError::Monitor)?;
    let healthz = Healthz::default();
    if let Some(address) = config.healthz_address {
        let serving = healthz.clone().serve(address, clock.clone(), &scope).await;
        serving.map_err(|source| RunError::Healthz { address, source })?;
    }
    let inputs = Inputs::start(&client, config.node_name, config.served_by_node);
    let (ports, tables) = ([proxy.port()], proxy.tables());
    let driver = Driver {
        proxy: Arc::new(Mutex::new(proxy)),
        inputs,
        clock,
        healthz,
        servers: HealthServers::new(scope.child()),
    };
    let cancelled = scope.cancelled();
    tokio::select! {
        () = cancelled => {}
        () = driver.drive(monitor, &ports, &tables) => {}
    }
    Ok(())
}

/// What decisions are made from.
struct Inputs {
    node_name: String,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
    node: NodeInfo,
    served_by_node: Vec<IpAddr>,
}

impl Inputs {
    fn start(client: &Client, node_name: String, served_by_node: Vec<IpAddr>) -> Self {
        let node = NodeInfo { name: node_name.clone(), ..NodeInfo::default() };
        let own = WatchScope::all::<Node>().fields(format!("metadata.name={node_name}"));
        let (services, slices) = (client.informer(), client.informer());
        let nodes = client.informer_of(own);
        Self { node_name, services, slices, nodes, node, served_by_node }
    }

    async fn synced(&self) {
        self.services.synced().await;
        self.slices.synced().await;
        self.nodes.synced().await;
    }

    /// Takes over what changed in the node; returns whether anything did.
    fn refresh_node(&mut self) -> bool {
        let node = self.nodes.get("", &self.node_name);
        let info = node.map_or_else(
            || NodeInfo { name: self.node_name.clone(), ..NodeInfo::default() },
            |node| read_node(&self.node_name, &node),
        );
        std::mem::replace(&mut self.node, info.clone()) != info
    }

    fn decide(&self) -> Plan {
        let (services, slices) = (self.services.list(), self.slices.list());
        let mut plan =
            decide(services.iter().map(|s| &**s), slices.iter().map(|s| &**s), &self.node);
        for address in &self.served_by_node {
            plan.leave_alone(*address);
        }
        plan
    }
}

fn read_node(name: &str, node: &Node) -> NodeInfo {
    let labels = node.metadata.labels.as_ref();
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    NodeInfo {
        name: name.to_owned(),
        zone: labels.and_then(|labels| labels.get(ZONE_LABEL).cloned()),
        addresses: addresses.filter_map(|address| address.address.parse().ok()).collect(),
    }
}

/// Why the loop woke up.
enum Event {
    Changed,
    NodeChanged,
    RulesTouched,
    VerifyDue,
}

struct Driver {
    proxy: Arc<Mutex<Proxy>>,
    inputs: Inputs,
    clock: Clock,
    healthz: Healthz,
    servers: HealthServers,
}

impl Driver {
    async fn drive(mut self, mut monitor: Monitor, ports: &[u32], tables: &[linux::nft::TableId]) {
        let mut services = self.inputs.services.changed();
        let mut slices = self.inputs.slices.changed();
        let mut nodes = self.inputs.nodes.changed();
        self.inputs.synced().await;
        self.inputs.refresh_node();
        let mut pause = self.sync(&mut [&mut services, &mut slices]).await;
        loop {
            // A change in a quiet time is applied at once; those of a burst wait for each other here.
            self.clock.sleep(pause).await;
            let event = tokio::select! {
                Ok(()) = services.changed() => Event::Changed,
                Ok(()) = slices.changed() => Event::Changed,
                Ok(()) = nodes.changed() => Event::NodeChanged,
                touched = touched(&mut monitor, ports, tables) => touched,
                () = self.clock.sleep(VERIFY_PERIOD) => Event::VerifyDue,
                else => return,
            };
            pause = match event {
                Event::NodeChanged if !self.inputs.refresh_node() => Duration::ZERO,
                Event::Changed | Event::NodeChanged => {
                    self.sync(&mut [&mut services, &mut slices]).await
                }
                Event::RulesTouched | Event::VerifyDue => self.heal().await,
            };
        }
    }

    /// Decides and applies; returns how long to wait before the next time.
    async fn sync(&mut self, seen: &mut [&mut watch::Receiver<u64>]) -> Duration {
        for receiver in seen {
            receiver.mark_unchanged();
        }
        let began = self.clock.now();
        self.healthz.change_seen(began);
        let plan = self.inputs.decide();
        self.servers.set(&plan.health_checks).await;
        let addresses = self.inputs.node.addresses.clone();
        let mut failed = self
            .with_proxy(move |proxy| {
                proxy.set_node_addresses(addresses);
                proxy.apply(plan).map(|_| ())
            })
            .await;
        while let Err(error) = failed {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot apply Services");
            self.clock.sleep(RETRY_PAUSE).await;
            // A failed change leaves nothing behind to build on: the next one replaces everything.
            let plan = self.inputs.decide();
            failed = self.with_proxy(move |proxy| proxy.apply(plan).map(|_| ())).await;
        }
        let ended = self.clock.now();
        self.healthz.up_to_date(ended);
        let took = ended.duration_since(began).unsigned_abs();
        (took * 2).clamp(SYNC_PAUSE_MIN, SYNC_PAUSE_MAX)
    }

    /// Puts back what somebody else removed.
    async fn heal(&mut self) -> Duration {
        let outcome = self
            .with_proxy(|proxy| {
                let intact = proxy.is_intact()?;
                if !intact {
                    tracing::warn!("somebody changed the rules of Services; putting them back");
                    proxy.repair()?;
                }
                Ok(())
            })
            .await;
        match outcome {
            Ok(()) => SYNC_PAUSE_MIN,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot repair Services");
                RETRY_PAUSE
            }
        }
    }

    /// Runs `work` where it may block.
    async fn with_proxy(
        &self,
        work: impl FnOnce(&mut Proxy) -> Result<(), ProxyError> + Send + 'static,
    ) -> Result<(), ProxyError> {
        let proxy = Arc::clone(&self.proxy);
        let outcome = tokio::task::spawn_blocking(move || work(&mut proxy.lock())).await;
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// Resolves when somebody else touched one of the proxy's tables.
async fn touched(monitor: &mut Monitor, ports: &[u32], tables: &[linux::nft::TableId]) -> Event {
    loop {
        match monitor.foreign_change(ports).await {
            Ok(change) if tables.iter().any(|table| change.concerns(table)) => {
                return Event::RulesTouched;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "lost sight of the rules");
                return Event::VerifyDue;
            }
        }
    }
}
