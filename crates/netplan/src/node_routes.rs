//! Which routes lead to the pods of other nodes, as far as those nodes are on one network with this one. Not
//! here: nodes behind a router, which need a tunnel.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::limits::NODES_MAX;

/// A node as others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub name: String,
    /// Its own addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// The ranges of its pods' addresses.
    pub pod_ranges: Vec<IpNet>,
}

/// A network that this node has an address in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// This node's address there, with the network's prefix length.
    pub address: IpNet,
    /// The link that leads there.
    pub link: u32,
}

/// The way to a range of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeRoute {
    /// The pods.
    pub destination: IpNet,
    /// Their node.
    pub gateway: IpAddr,
    /// The link that it is reached by.
    pub link: u32,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The routes, by destination.
    pub routes: Vec<NodeRoute>,
    /// Nodes that no network of this machine leads to, by name.
    pub unreachable: Vec<String>,
}

/// Plans the routes of `own` to all other nodes. Ranges outside of `cluster` are nobody's to claim; where two
/// nodes claim one range, the first by name has it.
pub fn plan(own: &str, nodes: &[Neighbour], segments: &[Segment], cluster: &[IpNet]) -> Plan {
    let mut others: Vec<&Neighbour> = nodes.iter().filter(|node| node.name != own).collect();
    others.sort_by(|a, b| a.name.cmp(&b.name));
    let taken: Vec<IpNet> = nodes
        .iter()
        .filter(|node| node.name == own)
        .flat_map(|node| node.pod_ranges.iter().copied())
        .collect();
    let mut routes: BTreeMap<IpNet, NodeRoute> = BTreeMap::new();
    let mut unreachable = Vec::new();
    for node in others.into_iter().take(NODES_MAX) {
        for range in &node.pod_ranges {
            let range = range.trunc();
            let overlaps = |other: &IpNet| other.contains(&range) || range.contains(other);
            let is_ours = cluster.iter().any(|cluster| cluster.contains(&range));
            if !is_ours || taken.iter().any(overlaps) || routes.keys().any(overlaps) {
                continue;
            }
            match way(node, &range, segments) {
                Some((gateway, link)) => {
                    routes.insert(range, NodeRoute { destination: range, gateway, link });
                }
                None if unreachable.last() != Some(&node.name) => {
                    unreachable.push(node.name.clone());
                }
                None => {}
            }
        }
    }
    Plan { routes: routes.into_values().collect(), unreachable }
}

/// The node's address of the range's family that is on a network of ours.
fn way(node: &Neighbour, range: &IpNet, segments: &[Segment]) -> Option<(IpAddr, u32)> {
    let same_family =
        node.addresses.iter().filter(|address| address.is_ipv4() == range.addr().is_ipv4());
    same_family.into_iter().find_map(|address| {
        let near = segments.iter().filter(|segment| {
            segment.address.contains(address) && segment.address.addr() != *address
        });
        // The narrowest network is the one the kernel would choose.
        let segment = near.max_by_key(|segment| segment.address.prefix_len())?;
        Some((*address, segment.link))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, address: &str, range: &str) -> Neighbour {
        Neighbour {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
            pod_ranges: vec![range.parse().unwrap()],
        }
    }

    fn shown(nodes: &[Neighbour]) -> (Vec<String>, Vec<String>) {
        let segments = [
            Segment { address: "10.0.0.1/24".parse().unwrap(), link: 2 },
            Segment { address: "10.0.0.1/8".parse().unwrap(), link: 3 },
            Segment { address: "10.42.0.1/24".parse().unwrap(), link: 4 },
        ];
        let plan = plan("a", nodes, &segments, &["10.42.0.0/16".parse().unwrap()]);
        let routes = plan.routes.iter();
        let routes = routes.map(|it| format!("{} {} {}", it.destination, it.gateway, it.link));
        (routes.collect(), plan.unreachable)
    }

    #[test]
    fn neighbours_get_routes_and_far_nodes_are_named() {
        let nodes = [
            node("a", "10.0.0.1", "10.42.0.0/24"),
            node("b", "10.0.0.2", "10.42.1.0/24"),
            node("c", "10.9.0.3", "10.42.2.0/24"),
            node("d", "192.0.2.4", "10.42.3.0/24"),
            node("e", "fd00::5", "10.42.4.0/24"),
        ];
        let (routes, unreachable) = shown(&nodes);
        assert_eq!(routes, ["10.42.1.0/24 10.0.0.2 2", "10.42.2.0/24 10.9.0.3 3"]);
        assert_eq!(unreachable, ["d", "e"]);
        assert_eq!(shown(&[]), (Vec::new(), Vec::new()));
    }

    #[test]
    fn nobody_takes_what_is_not_theirs() {
        let nodes = [
            node("a", "10.0.0.1", "10.42.0.0/24"),
            node("b", "10.0.0.2", "0.0.0.0/0"),
            node("c", "10.0.0.3", "10.42.0.0/16"),
            node("d", "10.0.0.4", "10.42.0.128/25"),
            node("e", "10.0.0.5", "10.43.0.0/24"),
            node("f", "10.0.0.6", "10.42.6.0/24"),
            node("g", "10.0.0.7", "10.42.6.0/24"),
        ];
        let (routes, unreachable) = shown(&nodes);
        assert_eq!(routes, ["10.42.6.0/24 10.0.0.6 2"]);
        assert!(unreachable.is_empty());
    }
}
