//! A pod's link: the veth pair, and what its far end needs inside the sandbox.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use linux::netlink::{
    Address, LinkWatch, NetlinkError, NetworkNamespace, PortOptions, Route, RouteSocket, VethPeer,
    set_sysctl,
};

use crate::bridge::{Bridge, hardware_address};
use crate::error::PodNetworkError;

/// The far end's name.
const INSIDE: &str = "eth0";
/// The kernel activates a link within milliseconds, unless it is very busy with others.
const RUNNING_WAIT_MAX: Duration = Duration::from_millis(500);
/// How the near ends' texts begin, by which they are known as ours.
const ALIAS_PREFIX: &str = "keelson pod ";

/// The near end's name for a sandbox: as much of its id as a link's name can hold.
pub(crate) fn name_of(sandbox: &str) -> String {
    let id: String = sandbox.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    format!("kee{id}")
}

/// The text that marks a near end as the pod's.
pub(crate) fn alias_of(pod: &str) -> String {
    format!("{ALIAS_PREFIX}{pod}")
}

/// Whether a link's text marks it as ours.
pub(crate) fn is_ours(alias: Option<&str>) -> bool {
    alias.is_some_and(|alias| alias.starts_with(ALIAS_PREFIX))
}

/// What a pod's link needs.
pub(crate) struct PodLink<'a> {
    pub(crate) name: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) namespace: &'a Path,
    pub(crate) bridge: Bridge,
    /// Each with its gateway.
    pub(crate) addresses: &'a [(IpAddr, IpAddr)],
}

impl PodLink<'_> {
    /// Connects the sandbox; a link of the same name, left by an attempt that died, is replaced.
    pub(crate) fn connect(&self, routes: &mut RouteSocket) -> Result<(), PodNetworkError> {
        let namespace = self.open_namespace()?;
        let outcome = self
            .make(routes, &namespace)
            .and_then(|near| self.configure(&namespace, || routes.set_up(near)));
        if outcome.is_err()
            && let Err(error) = routes.delete_link(self.name)
        {
            tracing::warn!(link = self.name, %error, "cannot remove a pod's half-made link");
        }
        outcome
    }

    /// Whether the far end is there with its addresses.
    pub(crate) fn is_whole(&self) -> Result<bool, PodNetworkError> {
        let namespace = self.open_namespace()?;
        let mut inside =
            RouteSocket::open_in(namespace.as_fd()).map_err(self.failed("look into"))?;
        let Some(link) = inside.link(INSIDE).map_err(self.failed("look up"))? else {
            return Ok(false);
        };
        let there = inside.addresses().map_err(self.failed("list the addresses of"))?;
        let has = |wanted: IpAddr| {
            there.iter().any(|have| have.link == link.index && have.address.addr() == wanted)
        };
        Ok(link.up && self.addresses.iter().all(|(address, _)| has(*address)))
    }

    fn make(
        &self,
        routes: &mut RouteSocket,
        namespace: &NetworkNamespace,
    ) -> Result<u32, PodNetworkError> {
        let address = self.addresses.first().map(|(address, _)| hardware_address(*address));
        let peer =
            VethPeer { name: INSIDE, namespace: namespace.as_fd(), hardware_address: address };
        let (bridge, mtu) = (Some(self.bridge.index), self.bridge.mtu);
        let mut made = routes.create_veth(self.name, peer, bridge, mtu);
        if made.as_ref().is_err_and(|error| error.refusal() == Some(linux::netlink::Errno::EXIST)) {
            routes.delete_link(self.name).map_err(self.failed("replace"))?;
            made = routes.create_veth(self.name, peer, bridge, mtu);
        }
        made.map_err(self.failed("make"))?;
        let link = routes.link(self.name).map_err(self.failed("look up"))?;
        let index = link.map_or(0, |link| link.index);
        let options = PortOptions { hairpin: true, isolated: false };
        routes.set_port_options(index, options).map_err(self.failed("set the port options of"))?;
        routes.set_alias(index, &alias_of(self.pod)).map_err(self.failed("mark"))?;
        Ok(index)
    }

    /// Sets the far end up; `raise_near_end` comes last, so that the far end is the one to wait for.
    fn configure(
        &self,
        namespace: &NetworkNamespace,
        raise_near_end: impl FnOnce() -> Result<(), NetlinkError> + Send,
    ) -> Result<(), PodNetworkError> {
        let inside = namespace.run(|| -> Result<(), PodNetworkError> {
            if self.addresses.iter().any(|(address, _)| address.is_ipv6()) {
                // Addresses are unique by allocation; looking for duplicates would take a second.
                set_sysctl(&format!("ipv6/conf/{INSIDE}/accept_dad"), "0")?;
            }
            let mut watch = LinkWatch::open().map_err(self.failed("look into"))?;
            let mut routes = RouteSocket::open().map_err(self.failed("look into"))?;
            self.raise(&mut routes, "lo")?;
            let far = self.raise(&mut routes, INSIDE)?;
            self.add_addresses(&mut routes, far)?;
            raise_near_end().map_err(self.failed("bring up"))?;
            let runs = watch.wait_until_running(far, RUNNING_WAIT_MAX);
            if !runs.map_err(self.failed("watch"))? {
                tracing::warn!(pod = self.pod, "the pod's link is slow to come up");
            }
            Ok(())
        });
        inside.map_err(|source| self.no_namespace(source))?
    }

    fn raise(&self, routes: &mut RouteSocket, name: &str) -> Result<u32, PodNetworkError> {
        let link = routes.link(name).map_err(self.failed("look up"))?;
        let index = link.map_or(0, |link| link.index);
        routes.set_up(index).map_err(self.failed("bring up"))?;
        Ok(index)
    }

    fn add_addresses(&self, routes: &mut RouteSocket, link: u32) -> Result<(), PodNetworkError> {
        for (ip, gateway) in self.addresses {
            let address = Address { link, address: IpNet::from(*ip) };
            routes.add_address(address).map_err(self.failed("address"))?;
            // Nothing else is on the link: the way to the gateway is the only one without it.
            let direct = IpNet::from(*gateway);
            let any = IpNet::new(unspecified(*gateway), 0).unwrap_or(direct);
            let to = |destination, gateway| Route { destination, link, gateway, source: None };
            routes.put_route(to(direct, None)).map_err(self.failed("route"))?;
            routes.put_route(to(any, Some(*gateway))).map_err(self.failed("route"))?;
        }
        Ok(())
    }

    fn open_namespace(&self) -> Result<NetworkNamespace, PodNetworkError> {
        NetworkNamespace::open(self.namespace).map_err(|source| self.no_namespace(source))
    }

    fn no_namespace(&self, source: linux::netlink::NamespaceError) -> PodNetworkError {
        PodNetworkError::Namespace { path: self.namespace.to_owned(), source }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(NetlinkError) -> PodNetworkError + use<> {
        let object = format!("the link {} of pod {}", self.name, self.pod);
        move |source| PodNetworkError::Link { action, object, source }
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}
