//! Limits of containers and pods on Linux. Zero and the empty string mean "not specified", as in CRI.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a container may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinuxContainerResources {
    /// Length of a scheduling period in microseconds.
    pub cpu_period: i64,
    /// Processor time per period in microseconds.
    pub cpu_quota: i64,
    /// Weight against other groups (cgroup v1 scale, 2 to 262144).
    pub cpu_shares: i64,
    /// Memory limit in bytes.
    pub memory_limit_in_bytes: i64,
    /// How early the kernel picks this container when memory runs out, -1000 to 1000.
    pub oom_score_adj: i64,
    /// Processors that may be used, in the kernel's list form (`0-2,7`).
    pub cpuset_cpus: String,
    /// Memory nodes that may be used.
    pub cpuset_mems: String,
    /// Limits on huge pages, by page size.
    pub hugepage_limits: Vec<HugepageLimit>,
    /// Raw cgroup v2 keys.
    pub unified: BTreeMap<String, String>,
    /// Memory and swap together, in bytes.
    pub memory_swap_limit_in_bytes: i64,
}

/// Limit on the huge pages of one size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HugepageLimit {
    /// `2MB`, `1GB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}
