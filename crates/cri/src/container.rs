//! Containers: what they are made from and what is known about them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{IdMapping, ImageSpec, LinuxContainerResources, LinuxContainerSecurityContext};

/// `ContainerStatus::reason` of a container that ended with exit code 0.
pub const REASON_COMPLETED: &str = "Completed";
/// `ContainerStatus::reason` of a container that ended with another exit code.
pub const REASON_ERROR: &str = "Error";
/// `ContainerStatus::reason` of a container of which the kernel killed a process for want of memory.
pub const REASON_OOM_KILLED: &str = "OOMKilled";
/// `ContainerStatus::reason` of a container whose process could not be started.
pub const REASON_START_ERROR: &str = "StartError";
/// `ContainerStatus::reason` of a container whose shim is gone, so that its end was not seen.
pub const REASON_UNKNOWN: &str = "Unknown";

/// How mounts travel between the host and the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountPropagation {
    /// Not at all (`rprivate`).
    #[default]
    Private,
    /// From the host to the container (`rslave`).
    HostToContainer,
    /// Both ways (`rshared`).
    Bidirectional,
}

/// A file or directory of the host inside the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// Path in the container.
    pub container_path: String,
    /// Path on the host; symbolic links are followed.
    pub host_path: String,
    /// Whether the mount itself is read-only.
    pub readonly: bool,
    /// Whether SELinux labels are to be set.
    pub selinux_relabel: bool,
    /// Propagation.
    pub propagation: MountPropagation,
    /// User ids of an id-mapped mount.
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of an id-mapped mount.
    pub gid_mappings: Vec<IdMapping>,
    /// Whether the mounts below are read-only too; needs `readonly` and private propagation.
    pub recursive_read_only: bool,
    /// An image to mount instead of `host_path`.
    pub image: Option<ImageSpec>,
}

/// A device of the host inside the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Path in the container.
    pub container_path: String,
    /// Path on the host.
    pub host_path: String,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}

/// An environment variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyValue {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}

/// The identity of a container within its sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerMetadata {
    /// Name in the pod's spec.
    pub name: String,
    /// How many containers of this name the sandbox had before.
    pub attempt: u32,
}

/// What a container is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// Identity.
    pub metadata: ContainerMetadata,
    /// Image; an id, a name or a name with digest that is present on the node.
    pub image: ImageSpec,
    /// Replaces the image's entry point (and then also its command).
    pub command: Vec<String>,
    /// Replaces the image's command.
    pub args: Vec<String>,
    /// Replaces the image's working directory.
    pub working_dir: String,
    /// Added to the image's environment.
    pub envs: Vec<KeyValue>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Devices.
    pub devices: Vec<Device>,
    /// For selectors.
    pub labels: BTreeMap<String, String>,
    /// Kept unchanged by the runtime.
    pub annotations: BTreeMap<String, String>,
    /// Log file, relative to [`crate::PodSandboxConfig::log_directory`].
    pub log_path: String,
    /// Whether standard input stays open for attaching.
    pub stdin: bool,
    /// Whether standard input closes when the first attached client leaves.
    pub stdin_once: bool,
    /// Whether the process has a terminal.
    pub tty: bool,
    /// Linux settings.
    pub linux: LinuxContainerConfig,
    /// Signal that asks the process to end; empty: the image's, or SIGTERM.
    pub stop_signal: String,
}

/// Linux settings of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinuxContainerConfig {
    /// Limits.
    pub resources: LinuxContainerResources,
    /// Security settings.
    pub security_context: LinuxContainerSecurityContext,
}

/// The life of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Its process runs.
    Running,
    /// Its process ended, or never could start.
    Exited,
    /// The runtime lost sight of it.
    #[default]
    Unknown,
}

/// A container in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Id.
    pub id: String,
    /// The sandbox it belongs to.
    pub pod_sandbox_id: String,
    /// Identity.
    pub metadata: ContainerMetadata,
    /// Image asked for.
    pub image: ImageSpec,
    /// Image in use, with digest.
    pub image_ref: String,
    /// State.
    pub state: ContainerState,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Id of the image on this node.
    pub image_id: String,
}

/// Which containers to list; all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerFilter {
    /// This id, or an unambiguous beginning of it.
    pub id: Option<String>,
    /// This state.
    pub state: Option<ContainerState>,
    /// Of this sandbox.
    pub pod_sandbox_id: Option<String>,
    /// These labels.
    pub label_selector: BTreeMap<String, String>,
}

/// The identity that the first process started with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinuxContainerUser {
    /// User id.
    pub uid: i64,
    /// Group id.
    pub gid: i64,
    /// Supplementary groups.
    pub supplemental_groups: Vec<i64>,
}

/// Everything known about a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    /// Id.
    pub id: String,
    /// The sandbox it belongs to.
    pub pod_sandbox_id: String,
    /// Identity.
    pub metadata: ContainerMetadata,
    /// State.
    pub state: ContainerState,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Nanoseconds since 1970; 0: not yet.
    pub started_at: i64,
    /// Nanoseconds since 1970; 0: not yet.
    pub finished_at: i64,
    /// Exit code, 128 + n after signal n; only when finished.
    pub exit_code: i32,
    /// Image asked for.
    pub image: ImageSpec,
    /// Image in use, with digest.
    pub image_ref: String,
    /// `Completed`, `Error`, `OOMKilled`, `StartError` …
    pub reason: String,
    /// Details for a person.
    pub message: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Absolute path of the log.
    pub log_path: String,
    /// Limits in force.
    pub resources: Option<LinuxContainerResources>,
    /// Id of the image on this node.
    pub image_id: String,
    /// Identity of the first process.
    pub user: Option<LinuxContainerUser>,
    /// The signal that asks the process to end.
    pub stop_signal: String,
    /// Process id of the first process on the host; 0: none. For debugging (`info.pid` in CRI).
    pub pid: i32,
}
