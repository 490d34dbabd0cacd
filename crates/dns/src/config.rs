//! How a node's name server is set up.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use netplan::dns::ZoneConfig;

/// How a node's name server is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The cluster's domain.
    pub domain: String,
    /// Where to listen, over UDP and TCP. The addresses need not be there yet.
    pub listen: Vec<SocketAddr>,
    /// Seconds for which answers about the cluster may be kept.
    pub ttl: u32,
    /// Whom to ask about everything else; the host's name servers when there is none.
    pub forward_to: Vec<SocketAddr>,
    /// Where the host names its name servers.
    pub resolv_conf: PathBuf,
}

impl Config {
    /// The usual setup: `cluster.local` on port 53 of `addresses`.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            domain: "cluster.local".to_owned(),
            listen: addresses.into_iter().map(|address| SocketAddr::new(address, 53)).collect(),
            ttl: 5,
            forward_to: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
        }
    }

    /// What the zone is told.
    pub(crate) fn zone(&self) -> ZoneConfig {
        let servers = self.listen.iter().map(SocketAddr::ip);
        ZoneConfig {
            domain: self.domain.clone(),
            servers: servers.filter(|address| !address.is_unspecified()).collect(),
            ttl: self.ttl,
        }
    }
}
