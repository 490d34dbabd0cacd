//! How a node's proxy is set up.

use std::net::IpAddr;

use ipnet::IpNet;

/// On which of the node's addresses node ports answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// On all.
    #[default]
    All,
    /// On those in these networks.
    In(Vec<IpNet>),
}

/// How a node's proxy is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// The networks that pods are in; traffic to cluster addresses from elsewhere is masqueraded.
    pub cluster_cidrs: Vec<IpNet>,
    /// The networks that cluster addresses are in; those that no Service has are not answered.
    pub service_cidrs: Vec<IpNet>,
    /// Masquerade all traffic to cluster addresses.
    pub masquerade_all: bool,
    /// The bit of the packet mark that is the proxy's, 0 to 31.
    pub masquerade_bit: u8,
    /// On which of the node's addresses node ports answer.
    pub node_port_addresses: NodePortAddresses,
    /// Node ports also answer on the loopback addresses (IPv4 only).
    pub localhost_node_ports: bool,
    /// Cluster addresses that the node has itself and answers on, such as the name server's: Services at
    /// them are left alone.
    pub served_by_node: Vec<IpAddr>,
    /// Where `/healthz` answers, if it does.
    pub healthz_address: Option<std::net::SocketAddr>,
}

impl Config {
    /// The usual setup of a node.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            cluster_cidrs: Vec::new(),
            service_cidrs: Vec::new(),
            masquerade_all: false,
            masquerade_bit: 14,
            node_port_addresses: NodePortAddresses::All,
            localhost_node_ports: true,
            served_by_node: Vec::new(),
            healthz_address: None,
        }
    }
}
