//! How a node's pod network is set up.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

/// How a node's pod network is set up. Which addresses pods get is told later, when the node has its share:
/// see [`crate::BridgeNetwork::set_pod_cidrs`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The bridge's name, at most 15 bytes.
    pub bridge: String,
    /// The networks of all pods; traffic to anywhere else is masqueraded.
    pub cluster_cidrs: Vec<IpNet>,
    /// The networks of cluster addresses, for which the node needs a route before the proxy sees a packet.
    pub service_cidrs: Vec<IpNet>,
    /// Addresses that the node itself has besides the gateways', such as the name server's.
    pub node_addresses: Vec<IpAddr>,
    /// The largest packet in bytes; that of the link to the world when there is none.
    pub mtu: Option<u32>,
    /// Where it is remembered who has which address.
    pub state_file: PathBuf,
}

impl Config {
    /// The usual setup.
    pub fn new(state_file: impl Into<PathBuf>) -> Self {
        Self {
            bridge: "keelson0".to_owned(),
            cluster_cidrs: Vec::new(),
            service_cidrs: Vec::new(),
            node_addresses: Vec::new(),
            mtu: None,
            state_file: state_file.into(),
        }
    }
}
