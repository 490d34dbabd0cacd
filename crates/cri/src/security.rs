//! Who a container runs as and what it may do.

use serde::{Deserialize, Serialize};

/// Which namespace a container gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// One for all containers of the pod.
    #[default]
    Pod,
    /// One of its own.
    Container,
    /// The host's.
    Node,
    /// That of the container named by [`NamespaceOption::target_id`] (ephemeral containers).
    Target,
}

/// The namespaces of a container or sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceOption {
    /// Network: pod or node.
    pub network: NamespaceMode,
    /// Processes: pod, container, node or target.
    pub pid: NamespaceMode,
    /// IPC: pod or node.
    pub ipc: NamespaceMode,
    /// The container whose process namespace is joined when `pid` is [`NamespaceMode::Target`].
    pub target_id: String,
    /// The user namespace of the pod, when it has one.
    pub userns_options: Option<UserNamespace>,
}

/// A user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserNamespace {
    /// Pod or node.
    pub mode: NamespaceMode,
    /// User ids.
    pub uids: Vec<IdMapping>,
    /// Group ids.
    pub gids: Vec<IdMapping>,
}

/// A range of ids on the host and in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdMapping {
    /// First id on the host.
    pub host_id: u32,
    /// First id in the container.
    pub container_id: u32,
    /// Length of the range.
    pub length: u32,
}

/// How the supplementary groups of the first process are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SupplementalGroupsPolicy {
    /// Those asked for and those of the image's `/etc/group`.
    #[default]
    Merge,
    /// Those asked for only.
    Strict,
}

/// Which profile of a security module applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProfileType {
    /// The runtime's own.
    #[default]
    RuntimeDefault,
    /// None.
    Unconfined,
    /// The one at [`SecurityProfile::localhost_ref`].
    Localhost,
}

/// A seccomp or AppArmor profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityProfile {
    /// Which kind.
    pub profile_type: ProfileType,
    /// Absolute path (seccomp) or profile name (AppArmor) for [`ProfileType::Localhost`].
    pub localhost_ref: String,
}

/// SELinux labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeLinuxOption {
    /// User part.
    pub user: String,
    /// Role part.
    pub role: String,
    /// Type part.
    pub r#type: String,
    /// Level part.
    pub level: String,
}

/// Capabilities to add to and drop from the default set; names with or without `CAP_`, or `ALL`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capability {
    /// Added to every set except the ambient one.
    pub add_capabilities: Vec<String>,
    /// Dropped from every set.
    pub drop_capabilities: Vec<String>,
    /// Added to every set.
    pub add_ambient_capabilities: Vec<String>,
}

/// The security settings of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinuxSandboxSecurityContext {
    /// Namespaces of the sandbox.
    pub namespace_options: NamespaceOption,
    /// SELinux labels.
    pub selinux_options: Option<SeLinuxOption>,
    /// User id.
    pub run_as_user: Option<i64>,
    /// Group id; needs `run_as_user`.
    pub run_as_group: Option<i64>,
    /// Whether the root file system is read-only.
    pub readonly_rootfs: bool,
    /// Groups asked for.
    pub supplemental_groups: Vec<i64>,
    /// How they combine with the image's.
    pub supplemental_groups_policy: SupplementalGroupsPolicy,
    /// Whether any container of the pod may be privileged.
    pub privileged: bool,
    /// Seccomp; `None` is unconfined.
    pub seccomp: Option<SecurityProfile>,
    /// AppArmor; `None` is the runtime's default.
    pub apparmor: Option<SecurityProfile>,
}

/// The security settings of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinuxContainerSecurityContext {
    /// Capabilities; `None` is the default set.
    pub capabilities: Option<Capability>,
    /// All capabilities, all devices, nothing masked, no seccomp.
    pub privileged: bool,
    /// Namespaces of the container.
    pub namespace_options: NamespaceOption,
    /// SELinux labels.
    pub selinux_options: Option<SeLinuxOption>,
    /// User id; excludes `run_as_username`.
    pub run_as_user: Option<i64>,
    /// Group id; needs a user.
    pub run_as_group: Option<i64>,
    /// A user name of the image's `/etc/passwd`.
    pub run_as_username: String,
    /// Whether the root file system is read-only.
    pub readonly_rootfs: bool,
    /// Groups asked for.
    pub supplemental_groups: Vec<i64>,
    /// How they combine with the image's.
    pub supplemental_groups_policy: SupplementalGroupsPolicy,
    /// Whether the process can never gain privileges.
    pub no_new_privs: bool,
    /// Paths hidden from the container.
    pub masked_paths: Vec<String>,
    /// Paths that are read-only in the container.
    pub readonly_paths: Vec<String>,
    /// Seccomp; `None` is unconfined.
    pub seccomp: Option<SecurityProfile>,
    /// AppArmor; `None` is the runtime's default.
    pub apparmor: Option<SecurityProfile>,
}
