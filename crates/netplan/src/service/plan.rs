//! What a node has to do for the cluster's Services.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

/// What a decision must know of the node that it is made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// The node's name, as endpoints carry it.
    pub name: String,
    /// Its `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// Its addresses, by which it may reach load balancers that only admit some.
    pub addresses: Vec<IpAddr>,
}

/// A transport protocol of Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `TCP`
    Tcp,
    /// `UDP`
    Udp,
    /// `SCTP`
    Sctp,
}

impl Protocol {
    /// From the API's spelling; absent means TCP.
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("" | "TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }

    /// The number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Where clients send to: an address and a port, or a port of every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontEnd {
    /// The address; none means the node's own addresses.
    pub address: Option<IpAddr>,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// What becomes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes to any of these, which are sorted and not empty.
    Balance(Arc<[SocketAddr]>),
    /// It goes to the endpoint of this group that the client had last.
    Sticky(Arc<str>),
    /// It is refused.
    Reject,
    /// It is not answered.
    Drop,
}

/// What becomes of the connections to one front end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handling {
    /// `namespace/name:port` of the Service.
    pub service: Arc<str>,
    /// Anybody's connections.
    pub outside: Action,
    /// Connections that pods and the node itself make, when they are treated differently.
    pub inside: Option<Action>,
    /// Endpoints see the node's address instead of the client's.
    pub masquerade: bool,
    /// The only clients that are let in; everybody when there is none.
    pub sources: Option<Arc<[IpNet]>>,
    /// For UDP: all endpoints that may keep a running flow.
    pub udp_serving: Arc<[SocketAddr]>,
}

/// Endpoints that clients stay with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyGroup {
    /// `namespace/name:port/protocol`: groups of one Service port share what they remember.
    pub service: Arc<str>,
    /// Sorted and not empty.
    pub endpoints: Arc<[SocketAddr]>,
    /// How long a client without a new connection is remembered.
    pub timeout_seconds: u32,
}

/// One address family's share of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyPlan {
    /// Cluster addresses of Services: traffic to other ports of theirs is refused.
    pub cluster_ips: BTreeSet<IpAddr>,
    /// What to do, by front end.
    pub front_ends: BTreeMap<FrontEnd, Handling>,
    /// The groups that [`Action::Sticky`] names.
    pub sticky_groups: BTreeMap<Arc<str>, StickyGroup>,
    /// Endpoints on this node, which may reach themselves through a Service.
    pub local_endpoints: BTreeSet<IpAddr>,
}

/// What load balancers ask a node about a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// Ready endpoints on this node.
    pub local_endpoints: usize,
}

/// What a node has to do for the cluster's Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// For IPv4.
    pub ipv4: FamilyPlan,
    /// For IPv6.
    pub ipv6: FamilyPlan,
    /// By node port.
    pub health_checks: BTreeMap<u16, HealthCheck>,
}

impl Plan {
    /// Takes everything that is planned for `address` out: somebody else answers there.
    pub fn leave_alone(&mut self, address: IpAddr) {
        let family = if address.is_ipv4() { &mut self.ipv4 } else { &mut self.ipv6 };
        family.cluster_ips.remove(&address);
        family.front_ends.retain(|front_end, _| front_end.address != Some(address));
    }
}
