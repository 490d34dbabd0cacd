//! From requests and limits to what the kernel is told: shares, quota, memory, OOM score.

use cri::{ContainerStatus, LinuxContainerResources};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::limits::CPU_PERIOD_US;
use crate::{pod, qos, quantity};

const SHARES_MIN: i64 = 2;
const SHARES_MAX: i64 = 262_144;
const QUOTA_MIN_US: i64 = 1000;
const OOM_GUARANTEED: i64 = -997;
const OOM_BEST_EFFORT: i64 = 1000;

/// What the node is, as far as limits depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Memory of the machine in bytes.
    pub memory_bytes: i64,
    /// Processor time of the machine in thousandths of a core.
    pub cpu_milli: i64,
}

/// Weight of a container or pod that asks for that many thousandths of a core.
pub fn shares(cpu_milli: i64) -> i64 {
    (cpu_milli.saturating_mul(1024) / 1000).clamp(SHARES_MIN, SHARES_MAX)
}

/// Microseconds per period; 0: no limit.
pub fn quota(cpu_milli: i64) -> i64 {
    if cpu_milli <= 0 {
        return 0;
    }
    (cpu_milli.saturating_mul(CPU_PERIOD_US) / 1000).max(QUOTA_MIN_US)
}

/// The amount requested of a resource.
pub fn request<'a>(container: &'a Container, resource: &str) -> Option<&'a Quantity> {
    container.resources.as_ref()?.requests.as_ref()?.get(resource)
}

/// The limit on a resource.
pub fn limit<'a>(container: &'a Container, resource: &str) -> Option<&'a Quantity> {
    container.resources.as_ref()?.limits.as_ref()?.get(resource)
}

fn cpu_request_milli(container: &Container) -> i64 {
    request(container, "cpu").or_else(|| limit(container, "cpu")).map_or(0, quantity::milli)
}

/// How early the kernel picks this container when memory runs out.
pub fn oom_score_adj(pod: &Pod, container: &Container, node: &NodeFacts) -> i64 {
    if pod::is_critical(pod) {
        return OOM_GUARANTEED;
    }
    match qos::class(pod) {
        qos::Class::Guaranteed => return OOM_GUARANTEED,
        qos::Class::BestEffort => return OOM_BEST_EFFORT,
        qos::Class::Burstable => {}
    }
    let requested = request(container, "memory").map_or(0, quantity::value);
    let share = requested.saturating_mul(1000) / node.memory_bytes.max(1);
    (1000 - share).clamp(1000 + OOM_GUARANTEED, OOM_BEST_EFFORT - 1)
}

/// The limits of a container.
pub fn of_container(pod: &Pod, container: &Container, node: &NodeFacts) -> LinuxContainerResources {
    let memory = limit(container, "memory").map_or(0, quantity::value);
    LinuxContainerResources {
        cpu_period: CPU_PERIOD_US,
        cpu_quota: quota(limit(container, "cpu").map_or(0, quantity::milli)),
        cpu_shares: shares(cpu_request_milli(container)),
        memory_limit_in_bytes: memory,
        memory_swap_limit_in_bytes: memory,
        oom_score_adj: oom_score_adj(pod, container, node),
        hugepage_limits: hugepages(container),
        ..LinuxContainerResources::default()
    }
}

fn hugepages(container: &Container) -> Vec<cri::HugepageLimit> {
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let sizes = limits.into_iter().flatten().filter_map(|(name, amount)| {
        let size = name.strip_prefix("hugepages-")?.replace("Ki", "K").replace("Mi", "M");
        let limit = u64::try_from(quantity::value(amount)).unwrap_or(0);
        Some(cri::HugepageLimit { page_size: format!("{}B", size.replace("Gi", "G")), limit })
    });
    sizes.collect()
}

/// How a running container gets to its new limits.
#[derive(Clone, Debug, PartialEq)]
pub enum Resize {
    /// It has them.
    None,
    /// Without a restart.
    InPlace(Box<LinuxContainerResources>),
    /// With a restart, as its policy asks.
    Restart,
}

/// Compares the limits in force with those asked for.
pub fn resize(
    pod: &Pod,
    container: &Container,
    status: &ContainerStatus,
    node: &NodeFacts,
) -> Resize {
    let Some(have) = &status.resources else { return Resize::None };
    let want = of_container(pod, container, node);
    let unlimited = |value: i64| value.max(0);
    let cpu = have.cpu_shares != 0
        && (want.cpu_shares != have.cpu_shares
            || unlimited(want.cpu_quota) != unlimited(have.cpu_quota));
    let memory = unlimited(want.memory_limit_in_bytes) != unlimited(have.memory_limit_in_bytes);
    let restarts = |resource: &str| {
        container.resize_policy.iter().flatten().any(|policy| {
            policy.resource_name == resource && policy.restart_policy == "RestartContainer"
        })
    };
    if (cpu && restarts("cpu")) || (memory && restarts("memory")) {
        return Resize::Restart;
    }
    if !cpu && !memory {
        return Resize::None;
    }
    let mut changed = want;
    if changed.cpu_quota == 0 {
        changed.cpu_quota = -1;
    }
    if changed.memory_limit_in_bytes == 0 {
        changed.memory_limit_in_bytes = -1;
        changed.memory_swap_limit_in_bytes = -1;
    }
    Resize::InPlace(Box::new(changed))
}

fn amount(
    requirements: Option<&ResourceRequirements>,
    resource: &str,
    of_limits: bool,
) -> Option<i64> {
    let requirements = requirements?;
    let list =
        if of_limits { requirements.limits.as_ref() } else { requirements.requests.as_ref() };
    let quantity = list?.get(resource)?;
    Some(if resource == "cpu" { quantity::milli(quantity) } else { quantity::value(quantity) })
}

/// What the pod as a whole asks for: the main containers with the sidecars, or the largest moment of
/// initialisation, whichever is more, and the overhead. Processor time in thousandths, else whole units.
pub fn pod_request(pod: &Pod, resource: &str) -> i64 {
    pod_total(pod, resource, false)
}

/// The sum of the limits; `None` when a container has none.
pub fn pod_limit(pod: &Pod, resource: &str) -> Option<i64> {
    let spec = pod::spec(pod);
    if let Some(own) = amount(spec.resources.as_ref(), resource, true) {
        return Some(own);
    }
    let sidecars = pod::init_containers(pod).iter().filter(|init| pod::is_sidecar(init));
    let mut all = spec.containers.iter().chain(sidecars);
    let limited = all.all(|container| limit(container, resource).is_some());
    (limited && !spec.containers.is_empty()).then(|| pod_total(pod, resource, true))
}

/// Sums up requests or limits as [`pod_request`] says; who has none adds nothing.
pub(crate) fn pod_total(pod: &Pod, resource: &str, of_limits: bool) -> i64 {
    let spec = pod::spec(pod);
    let overhead = spec.overhead.as_ref().and_then(|overhead| overhead.get(resource));
    let overhead = overhead.map_or(0, |quantity| {
        if resource == "cpu" { quantity::milli(quantity) } else { quantity::value(quantity) }
    });
    if let Some(own) = amount(spec.resources.as_ref(), resource, of_limits) {
        return own.saturating_add(overhead);
    }
    let of = |container: &Container| {
        amount(container.resources.as_ref(), resource, of_limits).unwrap_or(0)
    };
    let main: i64 = spec.containers.iter().map(of).sum();
    let (mut sidecars, mut peak) = (0_i64, 0_i64);
    for init in pod::init_containers(pod) {
        if pod::is_sidecar(init) {
            sidecars += of(init);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + of(init));
        }
    }
    peak.max(main + sidecars).saturating_add(overhead)
}

/// The limits of the pod's own group.
pub fn of_pod(pod: &Pod) -> LinuxContainerResources {
    let memory = pod_limit(pod, "memory").unwrap_or(0);
    let best_effort = qos::class(pod) == qos::Class::BestEffort;
    LinuxContainerResources {
        cpu_period: CPU_PERIOD_US,
        cpu_quota: quota(pod_limit(pod, "cpu").unwrap_or(0)),
        cpu_shares: if best_effort { SHARES_MIN } else { shares(pod_request(pod, "cpu")) },
        memory_limit_in_bytes: memory,
        ..LinuxContainerResources::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    const NODE: NodeFacts = NodeFacts { memory_bytes: 8 << 30, cpu_milli: 4000 };

    #[test]
    fn shares_and_quota_follow_upstreams_table() {
        for (milli, expected) in [(0, 2), (1, 2), (100, 102), (1000, 1024), (1_000_000, 262_144)] {
            assert_eq!(shares(milli), expected, "{milli}");
        }
        for (milli, expected) in [(0, 0), (1, 1000), (10, 1000), (500, 50_000), (2000, 200_000)] {
            assert_eq!(quota(milli), expected, "{milli}");
        }
    }

    #[test]
    fn a_burstable_container_is_scored_by_its_share_of_memory() {
        let pod = pod(serde_json::json!({"containers": [
            {"name": "a", "resources": {"requests": {"memory": "2Gi", "cpu": "250m"}}},
            {"name": "b"},
        ]}));
        let containers = &pod::spec(&pod).containers;
        assert_eq!(oom_score_adj(&pod, &containers[0], &NODE), 750);
        assert_eq!(oom_score_adj(&pod, &containers[1], &NODE), 999);
        let limits = of_container(&pod, &containers[0], &NODE);
        assert_eq!(
            (limits.cpu_shares, limits.cpu_quota, limits.memory_limit_in_bytes),
            (256, 0, 0)
        );
        assert_eq!(of_pod(&pod).cpu_shares, 256);
        assert_eq!(of_pod(&pod).memory_limit_in_bytes, 0);
    }

    #[test]
    fn a_guaranteed_pod_has_limits_as_a_whole() {
        let resources = serde_json::json!({"limits": {"memory": "64Mi", "cpu": "500m"},
            "requests": {"memory": "64Mi", "cpu": "500m"}});
        let pod = pod(serde_json::json!({"containers": [
            {"name": "a", "resources": resources}, {"name": "b", "resources": resources},
        ]}));
        let of_pod = of_pod(&pod);
        assert_eq!((of_pod.cpu_quota, of_pod.memory_limit_in_bytes), (100_000, 128 << 20));
        assert_eq!(oom_score_adj(&pod, &pod::spec(&pod).containers[0], &NODE), -997);
    }

    #[test]
    fn init_containers_count_by_their_largest_moment() {
        let cpu = |milli: &str| serde_json::json!({"requests": {"cpu": milli}});
        let pod = pod(serde_json::json!({
            "initContainers": [
                {"name": "i", "resources": cpu("300m")},
                {"name": "s", "resources": cpu("100m"), "restartPolicy": "Always"},
                {"name": "j", "resources": cpu("500m")}],
            "containers": [{"name": "a", "resources": cpu("200m")}],
        }));
        assert_eq!(pod_request(&pod, "cpu"), 600);
    }

    #[test]
    fn a_resize_is_in_place_unless_the_policy_asks_for_a_restart() {
        let with = |policy: &str| {
            pod(serde_json::json!({"containers": [{"name": "a",
                "resources": {"limits": {"memory": "64Mi"}},
                "resizePolicy": [{"resourceName": "memory", "restartPolicy": policy}]}]}))
        };
        let pod = with("NotRequired");
        let container = &pod::spec(&pod).containers[0];
        let mut status = ContainerStatus {
            resources: Some(of_container(&pod, container, &NODE)),
            ..ContainerStatus::default()
        };
        assert_eq!(resize(&pod, container, &status, &NODE), Resize::None);
        status.resources.as_mut().unwrap().memory_limit_in_bytes = 1;
        assert!(matches!(resize(&pod, container, &status, &NODE), Resize::InPlace(limits)
            if limits.memory_limit_in_bytes == 64 << 20));
        let pod = with("RestartContainer");
        assert_eq!(resize(&pod, &pod::spec(&pod).containers[0], &status, &NODE), Resize::Restart);
    }
}
