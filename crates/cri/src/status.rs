//! The runtime itself: version, conditions, abilities.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Condition type: containers can run.
pub const RUNTIME_READY: &str = "RuntimeReady";
/// Condition type: sandboxes can get a network.
pub const NETWORK_READY: &str = "NetworkReady";

/// Which runtime this is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    /// Version of the interface's first form, always `0.1.0`.
    pub version: String,
    /// Name, as in `containerRuntimeVersion: <name>://<version>`.
    pub runtime_name: String,
    /// Semantic version.
    pub runtime_version: String,
    /// `v1`.
    pub runtime_api_version: String,
}

/// A condition of the runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeCondition {
    /// [`RUNTIME_READY`], [`NETWORK_READY`] or another.
    pub r#type: String,
    /// Whether it holds.
    pub status: bool,
    /// Why, in one word.
    pub reason: String,
    /// Why, for a person.
    pub message: String,
}

/// What a runtime handler can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeHandler {
    /// Name; empty: the default.
    pub name: String,
    /// Mounts that are read-only with everything below them.
    pub recursive_read_only_mounts: bool,
    /// User namespaces with id-mapped mounts.
    pub user_namespaces: bool,
}

/// What the runtime says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeStatus {
    /// Conditions.
    pub conditions: Vec<RuntimeCondition>,
    /// Handlers.
    pub runtime_handlers: Vec<RuntimeHandler>,
    /// Whether [`crate::SupplementalGroupsPolicy`] is honoured.
    pub supplemental_groups_policy: bool,
    /// For debugging.
    pub info: BTreeMap<String, String>,
}

impl RuntimeStatus {
    /// The condition of that type.
    pub fn condition(&self, condition_type: &str) -> Option<&RuntimeCondition> {
        self.conditions.iter().find(|condition| condition.r#type == condition_type)
    }
}
