//! What can go wrong when a pod is connected.

use std::io;
use std::path::PathBuf;

use linux::netlink::{NamespaceError, NetlinkError, SysctlError};
use linux::nft::CommitError;
use netplan::ipam::IpamError;

/// A pod or the node could not be connected.
#[derive(Debug, thiserror::Error)]
pub enum PodNetworkError {
    /// The node does not know its share of the pod network yet.
    #[error("the node has no pod network yet")]
    NoPodCidr,
    /// No address.
    #[error("cannot give the sandbox {sandbox} an address")]
    Address {
        /// The sandbox.
        sandbox: String,
        /// Why.
        #[source]
        source: IpamError,
    },
    /// What is remembered does not fit the node's share of the pod network.
    #[error("the remembered pod addresses do not fit the pod network")]
    Restore(#[source] IpamError),
    /// The state file.
    #[error("cannot {action} {path}")]
    State {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A link, address or route.
    #[error("cannot {action} {object}")]
    Link {
        /// What was attempted.
        action: &'static str,
        /// On what.
        object: String,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A name that ought to be ours is somebody else's.
    #[error("the link {0} is there already and is no bridge")]
    NotABridge(String),
    /// The kernel's settings.
    #[error("cannot prepare the kernel")]
    Setting(#[from] SysctlError),
    /// The sandbox's namespace.
    #[error("cannot work in the network namespace {path}")]
    Namespace {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: NamespaceError,
    },
    /// Packet rules.
    #[error("cannot set the packet rules of the pod network")]
    Rules(#[source] CommitError),
    /// A port mapping that cannot be.
    #[error("cannot map port {port} of the host at {address:?}")]
    PortMapping {
        /// The host's port.
        port: i32,
        /// The host's address.
        address: String,
    },
    /// The attachment is not whole.
    #[error("the sandbox {sandbox} is not connected: {what}")]
    Broken {
        /// The sandbox.
        sandbox: String,
        /// What is missing.
        what: String,
    },
}
