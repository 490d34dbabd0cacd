//! What is to be said of a node by its reports, and which pods may stay on it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";
/// Conditions other than `Ready` that keep new pods away while true.
const PRESSURES: &[(&str, &str)] = &[
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// What is to be done with a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// New conditions to write, when the node has fallen silent.
    pub conditions: Option<Vec<NodeCondition>>,
    /// All taints the node should have, when they differ.
    pub taints: Option<Vec<Taint>>,
    /// When to look again, changes or not.
    pub again_after: Duration,
}

/// Decides by the node's conditions and the time its lease was renewed.
pub fn decide(node: &Node, renewed: Option<Timestamp>, now: Timestamp, grace: Duration) -> Plan {
    let heard = renewed
        .or_else(|| heartbeat(node))
        .or_else(|| node.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let silent_for = heard.map_or(Duration::ZERO, |heard| {
        Duration::try_from(now.duration_since(heard)).unwrap_or_default()
    });
    let silent = silent_for >= grace;
    let conditions = silent.then(|| silenced(node, now)).flatten();
    let ready = if silent { "Unknown" } else { status_of(node, "Ready").unwrap_or("False") };
    let wanted = taints(node, ready, now);
    let have = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let again_after = if silent { grace } else { grace.saturating_sub(silent_for) };
    Plan {
        conditions,
        taints: (!same_taints(&wanted, &have)).then_some(wanted),
        again_after: again_after.max(Duration::from_secs(1)),
    }
}

fn conditions(node: &Node) -> impl Iterator<Item = &NodeCondition> {
    node.status.iter().flat_map(|status| status.conditions.iter().flatten())
}

fn status_of<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    conditions(node).find(|condition| condition.type_ == kind).map(|c| c.status.as_str())
}

fn heartbeat(node: &Node) -> Option<Timestamp> {
    let ready = conditions(node).find(|condition| condition.type_ == "Ready")?;
    ready.last_heartbeat_time.as_ref().map(|time| time.0)
}

/// All conditions as unknown; `None` when they are already.
fn silenced(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let kinds = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
    if kinds.iter().all(|kind| status_of(node, kind) == Some("Unknown")) {
        return None;
    }
    let silenced = kinds.iter().map(|kind| {
        let old = conditions(node).find(|condition| condition.type_ == *kind);
        let (reason, message) = if old.is_some() {
            ("NodeStatusUnknown", "Kubelet stopped posting node status.")
        } else {
            ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
        };
        NodeCondition {
            type_: (*kind).to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: old.and_then(|old| old.last_heartbeat_time.clone()),
            last_transition_time: match old {
                Some(old) if old.status == "Unknown" => old.last_transition_time.clone(),
                _ => Some(Time(now)),
            },
        }
    });
    Some(silenced.collect())
}

fn is_ours(taint: &Taint) -> bool {
    [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str())
        || PRESSURES.iter().any(|(_, key)| *key == taint.key)
}

/// The node's own taints, and those that follow from its state.
fn taints(node: &Node, ready: &str, now: Timestamp) -> Vec<Taint> {
    let spec = node.spec.as_ref();
    let have = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut wanted: Vec<Taint> = have.iter().filter(|taint| !is_ours(taint)).cloned().collect();
    let mut add = |key: &str, effect: &str, timed: bool| {
        let old = have.iter().find(|taint| taint.key == key && taint.effect == effect);
        wanted.push(old.cloned().unwrap_or_else(|| Taint {
            key: key.to_owned(),
            effect: effect.to_owned(),
            value: None,
            time_added: timed.then_some(Time(now)),
        }));
    };
    match ready {
        "True" => {}
        "Unknown" => {
            add(UNREACHABLE, NO_SCHEDULE, true);
            add(UNREACHABLE, NO_EXECUTE, true);
        }
        _ => {
            add(NOT_READY, NO_SCHEDULE, true);
            add(NOT_READY, NO_EXECUTE, true);
        }
    }
    for (kind, key) in PRESSURES {
        if status_of(node, kind) == Some("True") {
            add(key, NO_SCHEDULE, true);
        }
    }
    if spec.and_then(|spec| spec.unschedulable).unwrap_or(false) {
        add(UNSCHEDULABLE, NO_SCHEDULE, true);
    }
    wanted
}

fn same_taints(a: &[Taint], b: &[Taint]) -> bool {
    let key = |taint: &Taint| (taint.key.clone(), taint.effect.clone(), taint.value.clone());
    let sorted = |taints: &[Taint]| {
        let mut keys: Vec<_> = taints.iter().map(key).collect();
        keys.sort();
        keys
    };
    sorted(a) == sorted(b)
}

/// What a node's `NoExecute` taints mean for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evict {
    /// It tolerates them all.
    Never,
    /// It must go.
    Now,
    /// It must go when its patience ends.
    After(Duration),
}

/// Decides whether a pod may stay.
pub fn eviction(node: &Node, pod: &Pod, now: Timestamp) -> Evict {
    if pod.metadata.deletion_timestamp.is_some() {
        return Evict::Never;
    }
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let tolerations: Vec<_> =
        pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten()).collect();
    let mut soonest: Option<Duration> = None;
    for taint in taints.filter(|taint| taint.effect == NO_EXECUTE) {
        let mut tolerating = tolerations.iter().filter(|t| tolerates(t, taint)).peekable();
        if tolerating.peek().is_none() {
            return Evict::Now;
        }
        let patience = tolerating.filter_map(|toleration| toleration.toleration_seconds).min();
        if let Some(seconds) = patience {
            let since = taint.time_added.as_ref().map_or(now, |time| time.0);
            let ends =
                since + jiff::SignedDuration::from_secs(seconds.clamp(0, i64::from(i32::MAX)));
            let left = Duration::try_from(ends.duration_since(now)).unwrap_or_default();
            soonest = Some(soonest.map_or(left, |soonest| soonest.min(left)));
        }
    }
    match soonest {
        None => Evict::Never,
        Some(Duration::ZERO) => Evict::Now,
        Some(left) => Evict::After(left),
    }
}

fn tolerates(toleration: &k8s_openapi::api::core::v1::Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    (effect.is_empty() || effect == taint.effect)
        && (key == taint.key || (key.is_empty() && exists))
        && (exists
            || toleration.value.as_deref().unwrap_or_default()
                == taint.value.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{NodeSpec, NodeStatus, PodSpec, Toleration};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn node(ready: &str, taints: Vec<Taint>) -> Node {
        Node {
            spec: Some(NodeSpec { taints: Some(taints), ..NodeSpec::default() }),
            status: Some(NodeStatus {
                conditions: Some(vec![NodeCondition {
                    type_: "Ready".into(),
                    status: ready.into(),
                    ..NodeCondition::default()
                }]),
                ..NodeStatus::default()
            }),
            ..Node::default()
        }
    }

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.into(), effect: effect.into(), value: None, time_added: Some(Time(at(0))) }
    }

    const GRACE: Duration = Duration::from_secs(50);

    #[test]
    fn a_ready_node_that_reports_loses_its_taints() {
        let plan =
            decide(&node("True", vec![taint(NOT_READY, NO_SCHEDULE)]), Some(at(0)), at(1), GRACE);
        assert_eq!(plan.taints, Some(vec![]));
        assert_eq!(plan.conditions, None);
        assert_eq!(plan.again_after, Duration::from_secs(49));
    }

    #[test]
    fn a_silent_node_is_unreachable() {
        let plan = decide(&node("True", vec![]), Some(at(0)), at(60), GRACE);
        let keys: Vec<_> = plan.taints.unwrap().into_iter().map(|t| (t.key, t.effect)).collect();
        assert_eq!(
            keys,
            [
                (UNREACHABLE.to_owned(), NO_SCHEDULE.to_owned()),
                (UNREACHABLE.to_owned(), NO_EXECUTE.to_owned())
            ]
        );
        assert!(plan.conditions.unwrap().iter().all(|condition| condition.status == "Unknown"));
    }

    #[test]
    fn pods_leave_when_their_patience_ends() {
        let tainted = node("Unknown", vec![taint(UNREACHABLE, NO_EXECUTE)]);
        let patient = |seconds: Option<i64>| Pod {
            spec: Some(PodSpec {
                tolerations: Some(vec![Toleration {
                    key: Some(UNREACHABLE.into()),
                    operator: Some("Exists".into()),
                    toleration_seconds: seconds,
                    ..Toleration::default()
                }]),
                ..PodSpec::default()
            }),
            ..Pod::default()
        };
        let cases = [
            (Pod::default(), Evict::Now),
            (patient(None), Evict::Never),
            (patient(Some(300)), Evict::After(Duration::from_secs(290))),
            (patient(Some(5)), Evict::Now),
        ];
        for (pod, expected) in cases {
            assert_eq!(eviction(&tainted, &pod, at(10)), expected);
        }
    }
}
