//! Connecting and disconnecting sandboxes: the order of steps, and what is remembered between them.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cri::{NETWORK_READY, NetworkAttachment, PodNetwork, PortMapping, RuntimeCondition};
use ipnet::IpNet;
use linux::conntrack::Conntrack;
use linux::netlink::{NetworkNamespace, RouteSocket};
use linux::nft::{Batch, Nftables};
use netplan::node_routes::{NodeRoute, Segment};
use parking_lot::Mutex;

use crate::bridge::{self, Bridge};
use crate::config::Config;
use crate::error::PodNetworkError;
use crate::node_routes;
use crate::pod_link::{self, PodLink};
use crate::rules::PodRules;
use crate::state::{Attachment, HostPort, State};

/// The number of UDP in the IP header.
const UDP: u8 = 17;

/// The pod network of one node; cheap to clone.
#[derive(Clone, Debug)]
pub struct BridgeNetwork {
    inner: Arc<Mutex<Inner>>,
    node: Arc<NetworkNamespace>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    routes: RouteSocket,
    nft: Nftables,
    conntrack: Conntrack,
    state: State,
    bridge: Option<Bridge>,
    rules: Vec<PodRules>,
}

impl BridgeNetwork {
    /// Takes hold of the network namespace of the calling thread and reads what is remembered; changes
    /// nothing yet.
    pub fn open(config: Config) -> Result<Self, PodNetworkError> {
        let reach = |source| PodNetworkError::Link {
            action: "reach",
            object: "the kernel's links".to_owned(),
            source,
        };
        let inner = Inner {
            state: State::load(&config.state_file)?,
            routes: RouteSocket::open().map_err(reach)?,
            nft: Nftables::open().map_err(reach)?,
            conntrack: Conntrack::open().map_err(reach)?,
            bridge: None,
            rules: Vec::new(),
            config,
        };
        let path = Path::new("/proc/thread-self/ns/net");
        let node = NetworkNamespace::open(path)
            .map_err(|source| PodNetworkError::Namespace { path: path.to_owned(), source })?;
        Ok(Self { inner: Arc::new(Mutex::new(inner)), node: Arc::new(node) })
    }

    /// Tells the node's share of the pod network, at most one network of each family and the primary one
    /// first, and makes the bridge. Must run in the namespace in which the network was opened; blocks.
    pub fn set_pod_cidrs(&self, networks: &[IpNet]) -> Result<(), PodNetworkError> {
        self.inner.lock().set_pod_cidrs(networks)
    }

    /// The networks that this node has addresses in, its own bridge left out. Blocks.
    pub fn segments(&self) -> Result<Vec<Segment>, PodNetworkError> {
        self.inner.lock().segments()
    }

    /// Makes the routes to other nodes' pods be exactly these. Blocks.
    pub fn set_node_routes(&self, wanted: &[NodeRoute]) -> Result<(), PodNetworkError> {
        node_routes::set(&mut self.inner.lock().routes, wanted)
    }

    /// Disconnects every sandbox that is not in `live`, and removes links that nobody remembers. Blocks.
    pub fn collect_garbage(&self, live: &[&str]) -> Result<usize, PodNetworkError> {
        self.inner.lock().collect_garbage(live)
    }

    /// Removes all pods' links, the bridge, the packet rules and what is remembered. Blocks.
    pub fn reset(&self) -> Result<(), PodNetworkError> {
        self.inner.lock().reset()
    }

    /// The node's own addresses in the pod network.
    pub fn gateways(&self) -> Vec<IpAddr> {
        self.inner.lock().state.allocators.iter().map(|allocator| allocator.gateway()).collect()
    }

    async fn with_inner<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&mut Inner) -> Result<T, PodNetworkError> + Send + 'static,
    ) -> cri::Result<T> {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&mut inner.lock())).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(cri::Error::internal(what, &error)),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

#[async_trait]
impl PodNetwork for BridgeNetwork {
    async fn attach(&self, attachment: &NetworkAttachment) -> cri::Result<Vec<IpAddr>> {
        let wanted = attachment.clone();
        self.with_inner("cannot connect the pod", move |inner| inner.attach(&wanted)).await
    }

    async fn detach(&self, attachment: &NetworkAttachment) -> cri::Result<()> {
        let what = "cannot disconnect the pod";
        let sandbox = attachment.sandbox_id.clone();
        let begun = self.with_inner(what, move |inner| inner.begin_detach(&sandbox)).await?;
        let Some(link) = begun else { return Ok(()) };
        // The kernel takes its time to let go of a link; nobody else needs to wait for it.
        let node = Arc::clone(&self.node);
        match tokio::task::spawn_blocking(move || delete_link_in(&node, &link)).await {
            Ok(deleted) => deleted.map_err(|error| cri::Error::internal(what, &error))?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        let sandbox = attachment.sandbox_id.clone();
        self.with_inner(what, move |inner| inner.finish_detach(&sandbox)).await
    }

    async fn check(&self, attachment: &NetworkAttachment, addresses: &[IpAddr]) -> cri::Result<()> {
        let (wanted, addresses) = (attachment.clone(), addresses.to_vec());
        let what = "the pod is not connected as it was";
        self.with_inner(what, move |inner| inner.check(&wanted, &addresses)).await
    }

    async fn ready(&self) -> RuntimeCondition {
        let ready = self.inner.lock().bridge.is_some();
        let (reason, message) = match ready {
            true => ("", ""),
            false => ("NetworkPluginNotReady", "the node has no pod network yet"),
        };
        RuntimeCondition {
            r#type: NETWORK_READY.to_owned(),
            status: ready,
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }
}

impl Inner {
    fn set_pod_cidrs(&mut self, networks: &[IpNet]) -> Result<(), PodNetworkError> {
        self.state.set_networks(networks)?;
        if networks.is_empty() {
            return Err(PodNetworkError::NoPodCidr);
        }
        let bridge = bridge::set_up(&mut self.routes, &self.config, &self.state.allocators)?;
        let mut batch = Batch::new();
        self.rules.clear();
        for allocator in &self.state.allocators {
            let rules = PodRules::new(allocator.gateway().is_ipv4());
            let attachments = self.state.attachments.values();
            rules.replace(&mut batch, &self.config, allocator.network(), attachments);
            self.rules.push(rules);
        }
        self.nft.commit(&batch).map_err(PodNetworkError::Rules)?;
        self.bridge = Some(bridge);
        Ok(())
    }

    fn attach(&mut self, wanted: &NetworkAttachment) -> Result<Vec<IpAddr>, PodNetworkError> {
        let bridge = self.bridge.ok_or(PodNetworkError::NoPodCidr)?;
        let sandbox = &wanted.sandbox_id;
        let ports = read_ports(&wanted.port_mappings)?;
        if let Some(known) = self.state.attachments.get(sandbox).cloned() {
            if known.ports == ports && self.is_whole(&known, &wanted.netns_path)? {
                return Ok(known.addresses);
            }
            self.change_ports(&known, PodRules::delete_ports_of)?;
        }
        let addresses = self.state.allocate(sandbox)?;
        let pod = format!("{}/{}", wanted.pod_namespace, wanted.pod_name);
        let link = pod_link::name_of(sandbox);
        let attachment = Attachment { pod, addresses, link, ports };
        self.state.attachments.insert(sandbox.clone(), attachment.clone());
        let connected = self
            .state
            .save(&self.config.state_file)
            .and_then(|()| self.connect(bridge, &attachment, &wanted.netns_path));
        match connected {
            Ok(()) => Ok(attachment.addresses),
            Err(error) => {
                self.state.attachments.remove(sandbox);
                self.state.release(sandbox);
                if let Err(error) = self.state.save(&self.config.state_file) {
                    tracing::warn!(%error, "cannot write down that an address is free again");
                }
                Err(error)
            }
        }
    }

    fn connect(
        &mut self,
        bridge: Bridge,
        attachment: &Attachment,
        namespace: &Path,
    ) -> Result<(), PodNetworkError> {
        let addresses = self.with_gateways(&attachment.addresses);
        let link = PodLink {
            name: &attachment.link,
            pod: &attachment.pod,
            namespace,
            bridge,
            addresses: &addresses,
        };
        link.connect(&mut self.routes)?;
        let ports = self
            .change_ports(attachment, PodRules::add_ports_of)
            .and_then(|()| self.forget_flows(attachment));
        if ports.is_err() {
            self.delete_link(&attachment.link)?;
        }
        ports
    }

    fn detach(&mut self, sandbox: &str) -> Result<(), PodNetworkError> {
        let Some(link) = self.begin_detach(sandbox)? else { return Ok(()) };
        self.delete_link(&link)?;
        self.finish_detach(sandbox)
    }

    /// Ends what leads to the sandbox and says which link is left to be removed.
    fn begin_detach(&mut self, sandbox: &str) -> Result<Option<String>, PodNetworkError> {
        let Some(attachment) = self.state.attachments.get_mut(sandbox) else { return Ok(None) };
        // Taken, so that a second attempt does not remove what is removed.
        let ports = std::mem::take(&mut attachment.ports);
        let with_ports = Attachment { ports, ..attachment.clone() };
        self.change_ports(&with_ports, PodRules::delete_ports_of)?;
        Ok(Some(with_ports.link))
    }

    /// Gives the sandbox's addresses back.
    fn finish_detach(&mut self, sandbox: &str) -> Result<(), PodNetworkError> {
        self.state.attachments.remove(sandbox);
        self.state.release(sandbox);
        self.state.save(&self.config.state_file)
    }

    fn check(
        &mut self,
        wanted: &NetworkAttachment,
        addresses: &[IpAddr],
    ) -> Result<(), PodNetworkError> {
        let sandbox = &wanted.sandbox_id;
        let broken = |what: &str| PodNetworkError::Broken {
            sandbox: sandbox.clone(),
            what: what.to_owned(),
        };
        let known = match self.state.attachments.get(sandbox) {
            Some(known) => known.clone(),
            None => Attachment {
                pod: format!("{}/{}", wanted.pod_namespace, wanted.pod_name),
                addresses: addresses.to_vec(),
                link: pod_link::name_of(sandbox),
                ports: read_ports(&wanted.port_mappings)?,
            },
        };
        if known.addresses != addresses {
            return Err(broken("it has other addresses"));
        }
        if !self.is_whole(&known, &wanted.netns_path)? {
            return Err(broken("its link is not as it was made"));
        }
        if !self.state.attachments.contains_key(sandbox) {
            if !self.state.adopt(sandbox, addresses) {
                return Err(broken("its address is not its own"));
            }
            self.change_ports(&known, PodRules::add_ports_of)?;
            self.state.attachments.insert(sandbox.clone(), known);
            self.state.save(&self.config.state_file)?;
        }
        Ok(())
    }

    fn is_whole(
        &mut self,
        attachment: &Attachment,
        namespace: &Path,
    ) -> Result<bool, PodNetworkError> {
        let bridge = self.bridge.ok_or(PodNetworkError::NoPodCidr)?;
        let near = self.routes.link(&attachment.link).map_err(|source| PodNetworkError::Link {
            action: "look up",
            object: attachment.link.clone(),
            source,
        })?;
        if !near.is_some_and(|near| near.up && near.master == Some(bridge.index)) {
            return Ok(false);
        }
        let addresses = self.with_gateways(&attachment.addresses);
        let link = PodLink {
            name: &attachment.link,
            pod: &attachment.pod,
            namespace,
            bridge,
            addresses: &addresses,
        };
        link.is_whole()
    }

    fn segments(&mut self) -> Result<Vec<Segment>, PodNetworkError> {
        let bridge = self.bridge.map(|bridge| bridge.index);
        node_routes::segments(&mut self.routes, bridge)
    }

    fn collect_garbage(&mut self, live: &[&str]) -> Result<usize, PodNetworkError> {
        let gone: Vec<String> = self
            .state
            .attachments
            .keys()
            .filter(|sandbox| !live.contains(&sandbox.as_str()))
            .cloned()
            .collect();
        for sandbox in &gone {
            self.detach(sandbox)?;
        }
        let forgotten = self.delete_forgotten_links()?;
        Ok(gone.len() + forgotten)
    }

    fn delete_forgotten_links(&mut self) -> Result<usize, PodNetworkError> {
        let links = self.routes.links().map_err(|source| PodNetworkError::Link {
            action: "list",
            object: "links".to_owned(),
            source,
        })?;
        let known = |name: &str| self.state.attachments.values().any(|known| known.link == name);
        let forgotten: Vec<String> = links
            .into_iter()
            .filter(|link| pod_link::is_ours(link.alias.as_deref()) && !known(&link.name))
            .map(|link| link.name)
            .collect();
        for link in &forgotten {
            self.delete_link(link)?;
        }
        Ok(forgotten.len())
    }

    fn reset(&mut self) -> Result<(), PodNetworkError> {
        self.state.attachments.clear();
        node_routes::set(&mut self.routes, &[])?;
        self.delete_forgotten_links()?;
        let bridge = self.config.bridge.clone();
        self.delete_link(&bridge)?;
        for rules in PodRules::BOTH.map(PodRules::new) {
            let mut batch = Batch::new();
            rules.remove(&mut batch);
            match self.nft.commit(&batch) {
                // A kernel without IPv6 refuses to hear of its table, which is as good as removed.
                Err(error) if !rules.is_ipv4() => tracing::debug!(%error, "no IPv6 rules"),
                outcome => outcome.map_err(PodNetworkError::Rules)?,
            }
        }
        self.bridge = None;
        self.state = State::default();
        let path = &self.config.state_file;
        match std::fs::remove_file(path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(PodNetworkError::State { action: "remove", path: path.clone(), source })
            }
            _ => Ok(()),
        }
    }

    fn change_ports(
        &mut self,
        attachment: &Attachment,
        change: impl Fn(&PodRules, &mut Batch, &Attachment),
    ) -> Result<(), PodNetworkError> {
        let mut batch = Batch::new();
        for rules in &self.rules {
            change(rules, &mut batch, attachment);
        }
        self.nft.commit(&batch).map_err(PodNetworkError::Rules)
    }

    /// UDP senders that never pause would go on sending to the pod that had the host port before.
    fn forget_flows(&mut self, attachment: &Attachment) -> Result<(), PodNetworkError> {
        let udp = |port: &HostPort| port.protocol == UDP;
        let ports: Vec<u16> =
            attachment.ports.iter().filter(|port| udp(port)).map(|port| port.port).collect();
        if ports.is_empty() {
            return Ok(());
        }
        let failed = |source| PodNetworkError::Link {
            action: "forget UDP flows to the host ports of",
            object: attachment.pod.clone(),
            source,
        };
        let own: Vec<IpAddr> = self
            .routes
            .addresses()
            .map_err(failed)?
            .into_iter()
            .map(|address| address.address.addr())
            .collect();
        let forgotten = self.conntrack.forget(|flow| {
            flow.protocol == UDP
                && ports.contains(&flow.destination.port())
                && own.contains(&flow.destination.ip())
                && !attachment.addresses.contains(&flow.answered_by.ip())
        });
        forgotten.map(|_| ()).map_err(failed)
    }

    fn delete_link(&mut self, name: &str) -> Result<(), PodNetworkError> {
        self.routes.delete_link(name).map_err(|source| PodNetworkError::Link {
            action: "remove",
            object: name.to_owned(),
            source,
        })
    }

    fn with_gateways(&self, addresses: &[IpAddr]) -> Vec<(IpAddr, IpAddr)> {
        addresses
            .iter()
            .filter_map(|address| {
                let network = |of: &&netplan::ipam::Allocator| of.network().contains(address);
                let gateway = self.state.allocators.iter().find(network)?.gateway();
                Some((*address, gateway))
            })
            .collect()
    }
}

fn delete_link_in(node: &NetworkNamespace, name: &str) -> Result<(), PodNetworkError> {
    let failed =
        |source| PodNetworkError::Link { action: "remove", object: name.to_owned(), source };
    let mut routes = RouteSocket::open_in(node.as_fd()).map_err(failed)?;
    routes.delete_link(name).map_err(failed)
}

fn read_ports(mappings: &[PortMapping]) -> Result<Vec<HostPort>, PodNetworkError> {
    let mapped = mappings.iter().filter(|mapping| mapping.host_port != 0);
    mapped
        .map(|mapping| {
            read_port(mapping).ok_or_else(|| PodNetworkError::PortMapping {
                port: mapping.host_port,
                address: mapping.host_ip.clone(),
            })
        })
        .collect()
}

fn read_port(mapping: &PortMapping) -> Option<HostPort> {
    let address = match mapping.host_ip.as_str() {
        "" => None,
        text => Some(text.parse::<IpAddr>().ok()?).filter(|address| !address.is_unspecified()),
    };
    Some(HostPort {
        protocol: match mapping.protocol {
            cri::Protocol::Tcp => 6,
            cri::Protocol::Udp => 17,
            cri::Protocol::Sctp => 132,
        },
        address,
        port: u16::try_from(mapping.host_port).ok()?,
        container_port: u16::try_from(mapping.container_port).ok().filter(|port| *port != 0)?,
    })
}
