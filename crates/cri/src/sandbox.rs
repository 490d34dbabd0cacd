//! Pod sandboxes: what they are made from and what is known about them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ContainerStatus, LinuxContainerResources, LinuxSandboxSecurityContext, NamespaceOption,
};

/// DNS settings of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsConfig {
    /// Name servers.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP
    #[default]
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

/// A port of the host that leads to a port of the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port in the sandbox.
    pub container_port: i32,
    /// Port on the host; 0: not mapped.
    pub host_port: i32,
    /// Address of the host; empty: all.
    pub host_ip: String,
}

/// The identity of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSandboxMetadata {
    /// Name of the pod.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
}

/// What a sandbox is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSandboxConfig {
    /// Identity; the runtime accepts each only once.
    pub metadata: PodSandboxMetadata,
    /// Host name; empty for a pod on the host's network.
    pub hostname: String,
    /// Absolute directory below which the containers' logs are written.
    pub log_directory: String,
    /// DNS settings; `None` leaves the host's.
    pub dns_config: Option<DnsConfig>,
    /// Ports of the host.
    pub port_mappings: Vec<PortMapping>,
    /// For selectors.
    pub labels: BTreeMap<String, String>,
    /// Kept unchanged by the runtime.
    pub annotations: BTreeMap<String, String>,
    /// Linux settings.
    pub linux: LinuxPodSandboxConfig,
}

/// Linux settings of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinuxPodSandboxConfig {
    /// The pod's cgroup, as a path below the hierarchies' roots (`/kubepods/burstable/pod<uid>`).
    pub cgroup_parent: String,
    /// Security settings.
    pub security_context: LinuxSandboxSecurityContext,
    /// Sysctls of the pod's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// What the sandbox itself costs.
    pub overhead: Option<LinuxContainerResources>,
    /// The sum of the containers' resources.
    pub resources: Option<LinuxContainerResources>,
}

/// Whether containers can run in a sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodSandboxState {
    /// Yes.
    Ready,
    /// No: it was stopped or it died.
    #[default]
    NotReady,
}

/// The addresses of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSandboxNetworkStatus {
    /// The first address; empty on the host's network.
    pub ip: String,
    /// The others.
    pub additional_ips: Vec<String>,
}

impl PodSandboxNetworkStatus {
    /// All addresses, the primary one first.
    pub fn ips(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.ip.as_str())
            .chain(self.additional_ips.iter().map(String::as_str))
            .filter(|ip| !ip.is_empty())
    }
}

/// Everything known about a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSandboxStatus {
    /// Id.
    pub id: String,
    /// Identity.
    pub metadata: PodSandboxMetadata,
    /// State.
    pub state: PodSandboxState,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Addresses; `None` on the host's network.
    pub network: Option<PodSandboxNetworkStatus>,
    /// Namespaces.
    pub namespaces: NamespaceOption,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Runtime handler.
    pub runtime_handler: String,
}

/// A sandbox and its containers, seen at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSandboxStatusResponse {
    /// The sandbox.
    pub status: PodSandboxStatus,
    /// Its containers, also those that have exited.
    pub containers_statuses: Vec<ContainerStatus>,
    /// When this was seen; nanoseconds since 1970.
    pub timestamp: i64,
    /// For debugging (`netns`, `pid` …).
    pub info: BTreeMap<String, String>,
}

/// A sandbox in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSandbox {
    /// Id.
    pub id: String,
    /// Identity.
    pub metadata: PodSandboxMetadata,
    /// State.
    pub state: PodSandboxState,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Runtime handler.
    pub runtime_handler: String,
}

/// Which sandboxes to list; all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSandboxFilter {
    /// This id, or an unambiguous beginning of it.
    pub id: Option<String>,
    /// This state.
    pub state: Option<PodSandboxState>,
    /// These labels.
    pub label_selector: BTreeMap<String, String>,
}
