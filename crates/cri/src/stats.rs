//! What containers and sandboxes use. A `None` is "not known", never zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ContainerMetadata, PodSandboxMetadata};

/// Space taken on a file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilesystemUsage {
    /// Nanoseconds since 1970.
    pub timestamp: i64,
    /// Mount point of the file system.
    pub mountpoint: String,
    /// Bytes.
    pub used_bytes: Option<u64>,
    /// Inodes.
    pub inodes_used: Option<u64>,
}

/// Processor use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    /// Nanoseconds since 1970.
    pub timestamp: i64,
    /// Nanoseconds of one core, summed up since the start.
    pub usage_core_nano_seconds: Option<u64>,
    /// Nanoseconds of one core per second, over the last interval.
    pub usage_nano_cores: Option<u64>,
}

/// Memory use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryUsage {
    /// Nanoseconds since 1970.
    pub timestamp: i64,
    /// Bytes that cannot be given back at once: usage less inactive file pages.
    pub working_set_bytes: Option<u64>,
    /// Limit less working set.
    pub available_bytes: Option<u64>,
    /// Bytes charged.
    pub usage_bytes: Option<u64>,
    /// Bytes of anonymous memory.
    pub rss_bytes: Option<u64>,
    /// Minor and major faults.
    pub page_faults: Option<u64>,
    /// Major faults.
    pub major_page_faults: Option<u64>,
}

/// Swap use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SwapUsage {
    /// Nanoseconds since 1970.
    pub timestamp: i64,
    /// Limit less use.
    pub swap_available_bytes: Option<u64>,
    /// Bytes.
    pub swap_usage_bytes: Option<u64>,
}

/// Which container a measurement is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerAttributes {
    /// Id.
    pub id: String,
    /// Identity.
    pub metadata: ContainerMetadata,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStats {
    /// Which container.
    pub attributes: ContainerAttributes,
    /// Processor.
    pub cpu: Option<CpuUsage>,
    /// Memory.
    pub memory: Option<MemoryUsage>,
    /// Writable layer.
    pub writable_layer: Option<FilesystemUsage>,
    /// Swap.
    pub swap: Option<SwapUsage>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// Which containers to measure; all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStatsFilter {
    /// This id.
    pub id: Option<String>,
    /// Of this sandbox.
    pub pod_sandbox_id: Option<String>,
    /// These labels.
    pub label_selector: BTreeMap<String, String>,
}

/// Counters of a network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkInterfaceUsage {
    /// Name.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Send errors.
    pub tx_errors: u64,
}

/// Network use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkUsage {
    /// Nanoseconds since 1970.
    pub timestamp: i64,
    /// The interface of the default route.
    pub default_interface: Option<NetworkInterfaceUsage>,
    /// The others.
    pub interfaces: Vec<NetworkInterfaceUsage>,
}

/// Which sandbox a measurement is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSandboxAttributes {
    /// Id.
    pub id: String,
    /// Identity.
    pub metadata: PodSandboxMetadata,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What a pod uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSandboxStats {
    /// Which sandbox.
    pub attributes: PodSandboxAttributes,
    /// Processor.
    pub cpu: Option<CpuUsage>,
    /// Memory.
    pub memory: Option<MemoryUsage>,
    /// Network; `None` on the host's network.
    pub network: Option<NetworkUsage>,
    /// Processes and threads.
    pub process_count: Option<u64>,
    /// Its running containers.
    pub containers: Vec<ContainerStats>,
}

/// Which sandboxes to measure; all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSandboxStatsFilter {
    /// This id.
    pub id: Option<String>,
    /// These labels.
    pub label_selector: BTreeMap<String, String>,
}
