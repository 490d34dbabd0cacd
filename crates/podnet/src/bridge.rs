//! The node's side: the bridge, its addresses, the routes and settings that go with it.

use std::net::IpAddr;

use ipnet::IpNet;
use linux::netlink::{Address, Link, NetlinkError, Route, RouteSocket, set_sysctl};
use netplan::ipam::Allocator;

use crate::config::Config;
use crate::error::PodNetworkError;

/// What Ethernet carries, when nothing says otherwise.
const MTU_DEFAULT: u32 = 1500;

/// The bridge as it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bridge {
    pub(crate) index: u32,
    pub(crate) mtu: u32,
}

/// Makes the bridge, or makes the one that is there fit. Must run in the node's network namespace.
pub(crate) fn set_up(
    routes: &mut RouteSocket,
    config: &Config,
    allocators: &[Allocator],
) -> Result<Bridge, PodNetworkError> {
    let mtu = match config.mtu {
        Some(mtu) => mtu,
        None => mtu_of_the_world(routes)?,
    };
    let link = make_bridge(routes, config, mtu, allocators)?;
    let failed = |action, object: String| {
        move |source: NetlinkError| PodNetworkError::Link { action, object, source }
    };
    if !link.up {
        routes.set_up(link.index).map_err(failed("bring up", link.name.clone()))?;
    }
    if link.mtu != mtu {
        routes.set_mtu(link.index, mtu).map_err(failed("set the mtu of", link.name.clone()))?;
    }
    set_addresses(routes, config, link.index, allocators)?;
    for route in wanted_routes(config, link.index, allocators) {
        let object = format!("route to {}", route.destination);
        routes.put_route(route).map_err(failed("add", object))?;
    }
    set_settings(config, allocators)?;
    Ok(Bridge { index: link.index, mtu })
}

/// An address for the link layer that follows from one of the network layer.
pub(crate) fn hardware_address(address: IpAddr) -> [u8; 6] {
    let last = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let octets = address.octets();
            [octets[12], octets[13], octets[14], octets[15]]
        }
    };
    [0x0a, 0x58, last[0], last[1], last[2], last[3]]
}

fn make_bridge(
    routes: &mut RouteSocket,
    config: &Config,
    mtu: u32,
    allocators: &[Allocator],
) -> Result<Link, PodNetworkError> {
    let name = &config.bridge;
    let failed =
        |action| move |source| PodNetworkError::Link { action, object: name.clone(), source };
    let found = routes.link(name).map_err(failed("look up"))?;
    if found.is_none() {
        let first = allocators.first().ok_or(PodNetworkError::NoPodCidr)?;
        let address = hardware_address(first.gateway());
        routes.create_bridge(name, mtu, address).map_err(failed("make the bridge"))?;
    }
    let link = match found {
        Some(link) => Some(link),
        None => routes.link(name).map_err(failed("look up"))?,
    };
    link.filter(|link| link.kind.as_deref() == Some("bridge"))
        .ok_or_else(|| PodNetworkError::NotABridge(name.clone()))
}

fn set_addresses(
    routes: &mut RouteSocket,
    config: &Config,
    link: u32,
    allocators: &[Allocator],
) -> Result<(), PodNetworkError> {
    let gateways = allocators.iter().filter_map(|allocator| {
        IpNet::new(allocator.gateway(), allocator.network().prefix_len()).ok()
    });
    let wanted: Vec<IpNet> =
        gateways.chain(config.node_addresses.iter().map(|ip| IpNet::from(*ip))).collect();
    let failed = |action, address: IpNet| {
        move |source| PodNetworkError::Link { action, object: address.to_string(), source }
    };
    let there = routes.addresses().map_err(|source| PodNetworkError::Link {
        action: "list the addresses of",
        object: config.bridge.clone(),
        source,
    })?;
    for old in there.into_iter().filter(|old| old.link == link) {
        let is_link_local = match old.address.addr() {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        // What is left of an earlier share of the pod network would draw other nodes' traffic here.
        if !is_link_local && !wanted.contains(&old.address) {
            routes.delete_address(old).map_err(failed("remove the address", old.address))?;
        }
    }
    for address in wanted {
        let outcome = routes.add_address(Address { link, address });
        outcome.map_err(failed("add the address", address))?;
    }
    Ok(())
}

/// A node without a default route could not even begin to send to a cluster address.
fn wanted_routes<'a>(
    config: &'a Config,
    link: u32,
    allocators: &'a [Allocator],
) -> impl Iterator<Item = Route> + 'a {
    config.service_cidrs.iter().filter_map(move |network| {
        let same_family =
            |allocator: &&Allocator| allocator.gateway().is_ipv4() == network.addr().is_ipv4();
        let source = allocators.iter().find(same_family)?.gateway();
        Some(Route { destination: network.trunc(), link, gateway: None, source: Some(source) })
    })
}

fn set_settings(config: &Config, allocators: &[Allocator]) -> Result<(), PodNetworkError> {
    let bridge = &config.bridge;
    set_sysctl("ipv4/ip_forward", "1")?;
    // Host ports answer on loopback addresses too; the packet rules keep pods from reaching them.
    set_sysctl(&format!("ipv4/conf/{bridge}/route_localnet"), "1")?;
    if allocators.iter().any(|allocator| allocator.gateway().is_ipv6()) {
        set_sysctl("ipv6/conf/all/forwarding", "1")?;
        set_sysctl(&format!("ipv6/conf/{bridge}/accept_dad"), "0")?;
    }
    Ok(())
}

fn mtu_of_the_world(routes: &mut RouteSocket) -> Result<u32, PodNetworkError> {
    let failed = |source| PodNetworkError::Link {
        action: "find out the mtu of",
        object: "the default route".to_owned(),
        source,
    };
    let all = routes.routes().map_err(failed)?;
    let default = all.iter().find(|route| route.destination.prefix_len() == 0);
    let Some(default) = default else { return Ok(MTU_DEFAULT) };
    let links = routes.links().map_err(failed)?;
    let link = links.iter().find(|link| link.index == default.link);
    Ok(link.map_or(MTU_DEFAULT, |link| link.mtu))
}
