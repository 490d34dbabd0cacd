//! Host ports that pods take on a node.

use k8s_openapi::api::core::v1::Pod;

/// A port of the host that a pod listens on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// The address, `0.0.0.0` for all.
    pub address: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port number.
    pub port: i32,
}

const ALL_ADDRESSES: &str = "0.0.0.0";

impl HostPort {
    /// Whether both cannot be taken on one host.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address
                || self.address == ALL_ADDRESSES
                || other.address == ALL_ADDRESSES)
    }
}

/// The host ports of `pod`, its sidecars included.
pub(crate) fn of(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars =
        sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|port| *port > 0)?;
            let or = |text: &Option<String>, default: &str| match text.as_deref() {
                None | Some("") => default.to_owned(),
                Some(text) => text.to_owned(),
            };
            Some(HostPort {
                address: or(&port.host_ip, ALL_ADDRESSES),
                protocol: or(&port.protocol, "TCP"),
                port: number,
            })
        })
        .collect()
}
