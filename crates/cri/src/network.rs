//! How a sandbox gets its network: the runtime makes the network namespace, somebody else connects it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{PortMapping, Result, RuntimeCondition};

/// A sandbox to connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachment {
    /// Id of the sandbox: the key of the attachment.
    pub sandbox_id: String,
    /// Where its network namespace is mounted.
    pub netns_path: PathBuf,
    /// Namespace of the pod.
    pub pod_namespace: String,
    /// Name of the pod.
    pub pod_name: String,
    /// UID of the pod.
    pub pod_uid: String,
    /// Annotations of the pod (bandwidth limits, for example).
    pub annotations: BTreeMap<String, String>,
    /// Ports of the host that lead to the sandbox.
    pub port_mappings: Vec<PortMapping>,
}

/// Connects sandboxes to the pod network. Every call is idempotent, because the caller may die between
/// any two of them and starts over.
#[async_trait]
pub trait PodNetwork: Send + Sync + std::fmt::Debug {
    /// Connects the sandbox and answers its addresses, the primary one first. For a sandbox that is
    /// connected already, the same addresses again.
    async fn attach(&self, attachment: &NetworkAttachment) -> Result<Vec<IpAddr>>;

    /// Disconnects the sandbox and gives its addresses back; nothing to do is a success. The namespace
    /// may be gone already.
    async fn detach(&self, attachment: &NetworkAttachment) -> Result<()>;

    /// Whether the attachment is whole, after the caller was started again; an error asks for a new
    /// sandbox.
    async fn check(&self, attachment: &NetworkAttachment, addresses: &[IpAddr]) -> Result<()>;

    /// The condition `NetworkReady`.
    async fn ready(&self) -> RuntimeCondition;
}
