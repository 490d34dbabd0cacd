//! The built-in pod network: connects the sandboxes of one node with each other, the node and the world.
//!
//! Every pod has a veth pair whose far end is `eth0` in its sandbox and whose near end is a port of the
//! node's bridge. A pod's address stands alone (`/32`, `/128`) and all its packets go through the node, also
//! those to a neighbour: so Services work between any two pods without the kernel's bridge filter. Not here:
//! Services (the proxy), other nodes' networks, who asks for it (the runtime, through [`cri::PodNetwork`]).

mod bridge;
mod config;
mod error;
mod network;
mod node_routes;
mod pod_link;
mod rules;
mod state;

pub use config::Config;
pub use error::PodNetworkError;
pub use network::BridgeNetwork;
