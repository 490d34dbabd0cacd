//! Which endpoints of a Service port may be used from this node.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice};

use super::plan::{NodeInfo, Protocol};
use crate::limits::ENDPOINTS_PER_FRONT_END_MAX;

/// One endpoint of a Service port.
#[derive(Clone, Debug)]
pub(super) struct Endpoint<'a> {
    pub(super) address: SocketAddr,
    ready: bool,
    serving: bool,
    terminating: bool,
    pub(super) local: bool,
    api: &'a ApiEndpoint,
}

impl Endpoint<'_> {
    fn is_last_resort(&self) -> bool {
        self.serving && self.terminating
    }

    fn has_zone_hint(&self, zone: Option<&str>) -> bool {
        self.api
            .hints
            .iter()
            .flat_map(|hints| hints.for_zones.iter().flatten())
            .any(|hint| zone.is_none_or(|zone| hint.name == zone))
    }

    fn has_node_hint(&self, node: Option<&str>) -> bool {
        self.api
            .hints
            .iter()
            .flat_map(|hints| hints.for_nodes.iter().flatten())
            .any(|hint| node.is_none_or(|node| hint.name == node))
    }
}

/// The endpoints of the Service port `port_name` that `slices` list, one per address.
pub(super) fn endpoints_of_port<'a>(
    slices: &[&'a EndpointSlice],
    is_ipv4: bool,
    port_name: &str,
    protocol: Protocol,
    node: &NodeInfo,
) -> Vec<Endpoint<'a>> {
    let mut by_address: BTreeMap<SocketAddr, Endpoint<'a>> = BTreeMap::new();
    let address_type = if is_ipv4 { "IPv4" } else { "IPv6" };
    for slice in slices.iter().filter(|slice| slice.address_type == address_type) {
        let ports = slice.ports.iter().flatten().filter(|port| {
            port.name.as_deref().unwrap_or_default() == port_name
                && Protocol::parse(port.protocol.as_deref()) == Some(protocol)
        });
        for number in ports.filter_map(|port| u16::try_from(port.port?).ok()) {
            for api in slice.endpoints.iter().flatten() {
                let Some(endpoint) = read_endpoint(api, number, node) else { continue };
                let known = by_address.get(&endpoint.address);
                // While an endpoint moves between slices it is listed twice; the ready one counts.
                if known.is_none_or(|known| endpoint.ready && !known.ready) {
                    by_address.insert(endpoint.address, endpoint);
                }
            }
        }
    }
    by_address.into_values().collect()
}

fn read_endpoint<'a>(api: &'a ApiEndpoint, port: u16, node: &NodeInfo) -> Option<Endpoint<'a>> {
    let ip: IpAddr = api.addresses.first()?.parse().ok()?;
    let conditions = api.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    Some(Endpoint {
        address: SocketAddr::new(ip, port),
        ready,
        serving: conditions.and_then(|conditions| conditions.serving).unwrap_or(ready),
        terminating: conditions.and_then(|conditions| conditions.terminating).unwrap_or(false),
        local: api.node_name.as_deref() == Some(node.name.as_str()),
        api,
    })
}

/// The endpoints of a Service port, sorted by the use that may be made of them.
#[derive(Clone, Debug)]
pub(super) struct Usable {
    /// For traffic that may go to any node.
    pub(super) cluster: Arc<[SocketAddr]>,
    /// For traffic that must stay on this node.
    pub(super) local: Arc<[SocketAddr]>,
    /// Every endpoint that may keep a running flow.
    pub(super) serving: Arc<[SocketAddr]>,
    /// Ready endpoints on this node.
    pub(super) local_ready: usize,
}

/// Sorts `endpoints` by the use that may be made of them from `node`.
pub(super) fn usable(endpoints: &[Endpoint<'_>], node: &NodeInfo) -> Usable {
    let hints = usable_hints(endpoints, node);
    let near = |endpoint: &Endpoint<'_>| match hints {
        Hints::None => true,
        Hints::Zone(zone) => endpoint.has_zone_hint(Some(zone)),
        Hints::Node => endpoint.has_node_hint(Some(&node.name)),
    };
    let cluster = pick(endpoints, |endpoint| endpoint.ready && near(endpoint))
        .or_else(|| pick(endpoints, |endpoint| endpoint.is_last_resort()));
    let local = pick(endpoints, |endpoint| endpoint.local && endpoint.ready)
        .or_else(|| pick(endpoints, |endpoint| endpoint.local && endpoint.is_last_resort()));
    Usable {
        cluster: cluster.unwrap_or_default(),
        local: local.unwrap_or_default(),
        serving: pick(endpoints, |endpoint| endpoint.serving).unwrap_or_default(),
        local_ready: endpoints.iter().filter(|endpoint| endpoint.local && endpoint.ready).count(),
    }
}

fn pick(
    endpoints: &[Endpoint<'_>],
    wanted: impl Fn(&Endpoint<'_>) -> bool,
) -> Option<Arc<[SocketAddr]>> {
    let picked: Arc<[SocketAddr]> = endpoints
        .iter()
        .filter(|endpoint| wanted(endpoint))
        .map(|endpoint| endpoint.address)
        .take(ENDPOINTS_PER_FRONT_END_MAX)
        .collect();
    (!picked.is_empty()).then_some(picked)
}

/// Which hints to follow.
#[derive(Clone, Copy, Debug)]
enum Hints<'a> {
    None,
    Zone(&'a str),
    Node,
}

/// Hints are followed only when every ready endpoint has one and one of them is for here: otherwise some
/// endpoint would be forgotten by everybody, or this node would be left without any.
fn usable_hints<'a>(endpoints: &[Endpoint<'_>], node: &'a NodeInfo) -> Hints<'a> {
    let ready = || endpoints.iter().filter(|endpoint| endpoint.ready);
    if ready().all(|endpoint| endpoint.has_node_hint(None))
        && ready().any(|endpoint| endpoint.has_node_hint(Some(&node.name)))
    {
        return Hints::Node;
    }
    match node.zone.as_deref().filter(|zone| !zone.is_empty()) {
        Some(zone)
            if ready().all(|endpoint| endpoint.has_zone_hint(None))
                && ready().any(|endpoint| endpoint.has_zone_hint(Some(zone))) =>
        {
            Hints::Zone(zone)
        }
        _ => Hints::None,
    }
}
