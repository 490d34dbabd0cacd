//! Pods that nobody else will remove: of nodes that are gone, never placed, or ended long ago.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::pods;

/// A node must be away for this long before its pods go: it may only be unknown yet.
pub const QUARANTINE: Duration = Duration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What is known when deciding.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// All pods.
    pub pods: &'a [Arc<Pod>],
    /// All nodes.
    pub nodes: &'a [Arc<Node>],
    /// Since when nodes that pods name are known to be away.
    pub missing_since: &'a BTreeMap<String, Timestamp>,
    /// Ended pods that may stay.
    pub terminated_max: usize,
}

/// Why a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its node is gone; the caller must make sure of that first.
    NodeGone,
    /// Its node was declared out of service.
    OutOfService,
    /// It was deleted before it had a node.
    NeverPlaced,
    /// There are too many ended pods.
    TooMany,
}

impl Why {
    /// The message of the pod's `DisruptionTarget` condition, where it gets one.
    pub fn message(self) -> Option<&'static str> {
        match self {
            Self::NodeGone => Some("PodGC: node no longer exists"),
            Self::OutOfService => Some("PodGC: node is out of service"),
            Self::NeverPlaced | Self::TooMany => None,
        }
    }
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Pods to delete at once, and why.
    pub delete: Vec<(Arc<Pod>, Why)>,
    /// Nodes that pods name and that are not there.
    pub missing: BTreeSet<String>,
}

/// Decides which pods go.
pub fn decide(snapshot: &Snapshot<'_>, now: Timestamp) -> Plan {
    let known: BTreeMap<&str, &Arc<Node>> = snapshot
        .nodes
        .iter()
        .filter_map(|node| Some((node.metadata.name.as_deref()?, node)))
        .collect();
    let mut plan = Plan::default();
    for pod in snapshot.pods {
        let name = pods::node(pod);
        if name.is_empty() {
            if pods::is_deleting(pod) {
                plan.delete.push((Arc::clone(pod), Why::NeverPlaced));
            }
            continue;
        }
        match known.get(name) {
            None => {
                plan.missing.insert(name.to_owned());
                let since = snapshot.missing_since.get(name);
                let away = since.map(|since| now.duration_since(*since));
                if away.is_some_and(|away| away.unsigned_abs() >= QUARANTINE) {
                    plan.delete.push((Arc::clone(pod), Why::NodeGone));
                }
            }
            Some(node) if pods::is_deleting(pod) && is_out_of_service(node) => {
                plan.delete.push((Arc::clone(pod), Why::OutOfService));
            }
            Some(_) => {}
        }
    }
    plan.delete.extend(surplus(snapshot).into_iter().map(|pod| (pod, Why::TooMany)));
    plan
}

fn is_out_of_service(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True");
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    !ready && taints.into_iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

/// The oldest ended pods beyond the number that may stay; evicted ones first.
fn surplus(snapshot: &Snapshot<'_>) -> Vec<Arc<Pod>> {
    let ended = snapshot.pods.iter().filter(|p| pods::is_terminal(p) && !pods::is_deleting(p));
    let mut ended: Vec<&Arc<Pod>> = ended.collect();
    let surplus = ended.len().saturating_sub(snapshot.terminated_max);
    if surplus == 0 {
        return Vec::new();
    }
    let evicted = |pod: &Pod| {
        pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted")
    };
    ended.sort_by_key(|pod| {
        (!evicted(pod), pods::created(&pod.metadata), pods::name(pod).to_owned())
    });
    ended.into_iter().take(surplus).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, phase: &str, deleted: bool) -> Arc<Pod> {
        let deletion = deleted.then_some("2026-01-01T00:00:00Z");
        Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": name, "deletionTimestamp": deletion,
                "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase}}),
            )
            .unwrap(),
        )
    }

    fn node(name: &str, taint: Option<&str>) -> Arc<Node> {
        let taints = taint.map(|key| json!([{"key": key, "effect": "NoExecute"}]));
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"taints": taints}}))
                .unwrap(),
        )
    }

    #[test]
    fn only_what_nobody_else_removes_goes() {
        let pods = [
            pod("fine", "n", "Running", false),
            pod("orphan", "gone", "Running", false),
            pod("young-orphan", "just-gone", "Running", false),
            pod("never", "", "Pending", true),
            pod("waiting", "", "Pending", false),
            pod("out", "broken", "Running", true),
            pod("out-stays", "broken", "Running", false),
        ];
        let nodes = [node("n", None), node("broken", Some(OUT_OF_SERVICE))];
        let now: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        let ago = |seconds: i64| now - jiff::SignedDuration::from_secs(seconds);
        let missing_since =
            BTreeMap::from([("gone".to_owned(), ago(60)), ("just-gone".to_owned(), ago(10))]);
        let snapshot = Snapshot {
            pods: &pods,
            nodes: &nodes,
            missing_since: &missing_since,
            terminated_max: 10,
        };
        let plan = decide(&snapshot, now);
        let gone: Vec<_> = plan.delete.iter().map(|(pod, why)| (pods::name(pod), *why)).collect();
        assert_eq!(
            gone,
            [("orphan", Why::NodeGone), ("never", Why::NeverPlaced), ("out", Why::OutOfService)]
        );
        assert_eq!(plan.missing.len(), 2);
    }

    #[test]
    fn of_too_many_ended_pods_the_oldest_go() {
        let pods: Vec<_> =
            ["c", "a", "b"].map(|name| pod(name, "n", "Succeeded", false)).into_iter().collect();
        let (nodes, missing_since) = ([node("n", None)], BTreeMap::new());
        let snapshot = Snapshot {
            pods: &pods,
            nodes: &nodes,
            missing_since: &missing_since,
            terminated_max: 1,
        };
        let plan = decide(&snapshot, Timestamp::UNIX_EPOCH);
        let gone: Vec<_> = plan.delete.iter().map(|(pod, _)| pods::name(pod)).collect();
        assert_eq!(gone, ["a", "b"]);
    }
}
