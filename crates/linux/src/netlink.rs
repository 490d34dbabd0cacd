//! Netlink: the message format, sockets, and the route family (links, addresses, routes).
//!
//! One small synchronous core serves the route family here, [`crate::nft`] and [`crate::conntrack`]: the
//! kernel works through a request inside the `send` call, so there is nothing to wait for, and a socket
//! that was opened inside another network namespace keeps talking to that namespace from any thread.
//! Not here: what a node's links should look like, which is the pod network's policy.

mod address;
mod link;
mod link_watch;
mod message;
mod namespace;
mod route;
mod socket;
mod sysctl;

pub use address::Address;
pub use link::{Link, PortOptions, VethPeer};
pub use link_watch::LinkWatch;
pub use message::{Attribute, Message, MessageWriter, attributes, messages};
pub use namespace::{NamespaceError, NetworkNamespace, inside_namespace};
pub use route::Route;
pub use socket::{NetlinkError, Protocol, Socket};
pub use sysctl::{SysctlError, set_sysctl};

use std::os::fd::BorrowedFd;

/// Why the kernel refused.
pub use rustix::io::Errno;

/// The route family of netlink: links, addresses and routes of one network namespace.
#[derive(Debug)]
pub struct RouteSocket {
    socket: Socket,
}

impl RouteSocket {
    /// Speaks to the network namespace of the calling thread.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::open(Protocol::Route)? })
    }

    /// Speaks to the network namespace that `namespace` is open on.
    pub fn open_in(namespace: BorrowedFd<'_>) -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::open_in(Protocol::Route, namespace)? })
    }
}
