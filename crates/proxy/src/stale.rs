//! Which tracked UDP flows must be forgotten, because they lead to an endpoint that is gone or went past a
//! Service that now has endpoints.

use std::net::{IpAddr, SocketAddr};

use linux::conntrack::Flow;
use netplan::service::{FamilyPlan, FrontEnd, Handling, Plan, Protocol};

/// Whether the UDP front ends of two plans differ, so that flows may have become stale.
pub(crate) fn may_have_stale_flows(old: &Plan, new: &Plan) -> bool {
    let differ = |old: &FamilyPlan, new: &FamilyPlan| {
        let udp = |(front_end, _): &(&FrontEnd, &Handling)| front_end.protocol == Protocol::Udp;
        !old.front_ends.iter().filter(udp).eq(new.front_ends.iter().filter(udp))
    };
    differ(&old.ipv4, &new.ipv4) || differ(&old.ipv6, &new.ipv6)
}

/// Whether `flow` must be forgotten on the way from `old` to `new`.
pub(crate) fn is_stale(flow: &Flow, old: &Plan, new: &Plan, node_addresses: &[IpAddr]) -> bool {
    if flow.protocol != Protocol::Udp.number() {
        return false;
    }
    let serving = |plan: &Plan| -> Option<std::sync::Arc<[SocketAddr]>> {
        let family = if flow.destination.is_ipv4() { &plan.ipv4 } else { &plan.ipv6 };
        front_end_of(family, flow.destination, node_addresses)
            .map(|handling| handling.udp_serving.clone())
    };
    match (serving(old), serving(new)) {
        (_, Some(now)) if now.is_empty() && flow.answered_by == flow.destination => false,
        (_, Some(now)) => !now.contains(&flow.answered_by),
        (Some(before), None) => before.contains(&flow.answered_by),
        (None, None) => false,
    }
}

fn front_end_of<'a>(
    plan: &'a FamilyPlan,
    destination: SocketAddr,
    node_addresses: &[IpAddr],
) -> Option<&'a Handling> {
    let at = |address| FrontEnd { address, protocol: Protocol::Udp, port: destination.port() };
    let ip = destination.ip();
    let is_node = ip.is_loopback() || node_addresses.contains(&ip);
    plan.front_ends
        .get(&at(Some(ip)))
        .or_else(|| plan.front_ends.get(&at(None)).filter(|_| is_node))
}
