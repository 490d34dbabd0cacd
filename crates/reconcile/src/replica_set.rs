//! How many pods a ReplicaSet or ReplicationController makes, which it deletes, and what it reports.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::labels::{self, Labels};
use crate::pods;

/// Pods made or deleted in one go.
pub const BURST: usize = 500;
const FAILURE: &str = "ReplicaFailure";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What is known when deciding.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Replicas wanted.
    pub replicas: i32,
    /// Whether the owner is being deleted.
    pub deleting: bool,
    /// Whether all pods made and deleted earlier were seen since.
    pub settled: bool,
    /// The owner's own pods that run or will run.
    pub pods: Vec<Arc<Pod>>,
    /// Pods of the ReplicaSets that share the owner's owner, the owner's own among them: how crowded a
    /// node is, is counted over all of them.
    pub related: Vec<Arc<Pod>>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Number of pods to make.
    pub create: usize,
    /// Pods to delete.
    pub delete: Vec<Arc<Pod>>,
}

/// Decides how many pods to make or which to delete.
pub fn decide(snapshot: &Snapshot, now: Timestamp) -> Plan {
    if snapshot.deleting || !snapshot.settled {
        return Plan::default();
    }
    let wanted = usize::try_from(snapshot.replicas).unwrap_or(0);
    let have = snapshot.pods.len();
    if have <= wanted {
        return Plan { create: (wanted - have).min(BURST), delete: Vec::new() };
    }
    let surplus = (have - wanted).min(BURST);
    Plan { create: 0, delete: least_useful(&snapshot.pods, &snapshot.related, surplus, now) }
}

/// The `count` pods that are missed least.
fn least_useful(
    all: &[Arc<Pod>],
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if count >= all.len() {
        return all.to_vec();
    }
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pods::is_active(pod)) {
        *crowd.entry(pods::node(pod)).or_default() += 1;
    }
    let mut sorted = all.to_vec();
    sorted.sort_by(|a, b| usefulness(a, b, &crowd, now));
    sorted.truncate(count);
    sorted
}

fn usefulness(a: &Pod, b: &Pod, crowd: &HashMap<&str, usize>, now: Timestamp) -> Ordering {
    let crowded = |pod: &Pod| crowd.get(pods::node(pod)).copied().unwrap_or(0);
    let both_ready = pods::is_ready(a) && pods::is_ready(b);
    let by_ready_time = || match both_ready {
        true => youth(pods::ready_since(a), pods::ready_since(b), a, b, now),
        false => Ordering::Equal,
    };
    let by_age = || youth(pods::created(&a.metadata), pods::created(&b.metadata), a, b, now);
    let assigned = |pod: &Pod| !pods::node(pod).is_empty();
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| Reverse(crowded(a)).cmp(&Reverse(crowded(b))))
        .then_with(by_ready_time)
        .then_with(|| Reverse(pods::restarts(a)).cmp(&Reverse(pods::restarts(b))))
        .then_with(by_age)
}

fn phase_rank(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(DELETION_COST)?.parse().ok()).unwrap_or(0)
}

/// Younger first, in steps that double with age: among pods of about the same age chance (the UID)
/// decides, so that not always the newest goes.
fn youth(
    a: Option<Timestamp>,
    b: Option<Timestamp>,
    pod_a: &Pod,
    pod_b: &Pod,
    now: Timestamp,
) -> Ordering {
    let (Some(a), Some(b)) = (a, b) else { return a.is_some().cmp(&b.is_some()) };
    if a == b {
        return Ordering::Equal;
    }
    let rank = |since: Timestamp| {
        let age_ns = now.duration_since(since).as_nanos();
        age_ns.checked_ilog2().map_or(-1, i64::from)
    };
    let uid = |pod: &Pod| pods::uid(&pod.metadata).to_owned();
    rank(a).cmp(&rank(b)).then_with(|| uid(pod_a).cmp(&uid(pod_b)))
}

/// A condition of a ReplicaSet or ReplicationController.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    /// `ReplicaFailure` is the only one that controllers write.
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: Option<String>,
    /// One sentence.
    pub message: Option<String>,
    /// When the status changed.
    pub since: Option<Time>,
}

/// The status of a ReplicaSet or ReplicationController.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Pods that run or will run.
    pub replicas: i32,
    /// Of them, with all labels of the template.
    pub fully_labeled: i32,
    /// Of them, ready.
    pub ready: i32,
    /// Of them, ready for long enough.
    pub available: i32,
    /// Pods being deleted; `None` where the kind does not report them.
    pub terminating: Option<i32>,
    /// Generation of the spec that this is about.
    pub observed_generation: i64,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// What a status is computed from.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// Replicas wanted.
    pub replicas: i32,
    /// Seconds a pod must be ready to count as available.
    pub min_ready_seconds: i32,
    /// The owner's generation.
    pub generation: i64,
    /// Labels of the template.
    pub template_labels: Option<&'a Labels>,
    /// Pods that run or will run.
    pub pods: &'a [Arc<Pod>],
    /// Pods being deleted.
    pub terminating: Option<i32>,
    /// Why pods could not be made or deleted this time.
    pub failure: Option<&'a str>,
}

/// The status to report after `old`, and when it will change by time alone.
pub fn status(old: &Status, observed: &Observed<'_>, now: Timestamp) -> (Status, Option<Duration>) {
    let mut next: Option<Duration> = None;
    let mut status = Status {
        replicas: count(observed.pods.len()),
        terminating: observed.terminating,
        observed_generation: observed.generation,
        conditions: conditions(old, observed, now),
        ..Status::default()
    };
    for pod in observed.pods {
        let labels = pod.metadata.labels.as_ref();
        status.fully_labeled += i32::from(labels::contains(labels, observed.template_labels));
        let Some(wait) = pods::available_in(pod, observed.min_ready_seconds, now) else { continue };
        status.ready += 1;
        if wait.is_zero() {
            status.available += 1;
        } else {
            next = Some(next.map_or(wait, |next| next.min(wait)));
        }
    }
    (status, next)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn conditions(old: &Status, observed: &Observed<'_>, now: Timestamp) -> Vec<Condition> {
    let had = old.conditions.iter().any(|condition| condition.kind == FAILURE);
    let mut conditions = old.conditions.clone();
    match observed.failure {
        Some(message) if !had => {
            let reason = match count(observed.pods.len()).cmp(&observed.replicas) {
                Ordering::Less => "FailedCreate",
                Ordering::Greater => "FailedDelete",
                Ordering::Equal => "",
            };
            conditions.push(Condition {
                kind: FAILURE.to_owned(),
                status: "True".to_owned(),
                reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
                message: Some(message.to_owned()),
                since: Some(Time(now)),
            });
        }
        None if had => conditions.retain(|condition| condition.kind != FAILURE),
        _ => {}
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-01T10:00:00Z".parse().unwrap()
    }

    fn pod(name: &str, node: &str, phase: &str, ready_at: Option<&str>) -> Arc<Pod> {
        let conditions = ready_at.map(|at| {
            json!([{"type": "Ready", "status": "True",
            "lastTransitionTime": format!("2026-01-01T{at}Z")}])
        });
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "uid": name, "labels": {"app": "a"},
                    "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"nodeName": node, "containers": []},
                "status": {"phase": phase, "conditions": conditions},
            }))
            .unwrap(),
        )
    }

    fn snapshot(replicas: i32, pods: Vec<Arc<Pod>>) -> Snapshot {
        Snapshot { replicas, related: pods.clone(), pods, settled: true, deleting: false }
    }

    fn deleted(replicas: i32, pods: Vec<Arc<Pod>>) -> Vec<String> {
        let plan = decide(&snapshot(replicas, pods), now());
        plan.delete.iter().map(|pod| pods::name(pod).to_owned()).collect()
    }

    #[test]
    fn missing_pods_are_made_in_bounded_bursts() {
        let cases = [(0, 0, 0), (3, 0, 3), (3, 2, 1), (100_000, 0, BURST), (-1, 0, 0)];
        for (replicas, have, expected) in cases {
            let pods = (0..have).map(|i| pod(&format!("p{i}"), "n", "Running", None)).collect();
            assert_eq!(decide(&snapshot(replicas, pods), now()).create, expected, "{replicas}");
        }
        let mut waiting = snapshot(3, vec![]);
        waiting.settled = false;
        assert_eq!(decide(&waiting, now()), Plan::default());
        let mut going = snapshot(0, vec![pod("a", "n", "Running", None)]);
        going.deleting = true;
        assert_eq!(decide(&going, now()), Plan::default());
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let ready = Some("01:00:00");
        let cases: Vec<(Vec<Arc<Pod>>, &str)> = vec![
            (vec![pod("a", "n", "Pending", None), pod("b", "", "Pending", None)], "b"),
            (vec![pod("a", "n", "Running", None), pod("b", "n", "Pending", None)], "b"),
            (vec![pod("a", "n", "Running", ready), pod("b", "n", "Running", None)], "b"),
            (
                vec![pod("a", "n", "Running", ready), pod("b", "n", "Running", Some("09:59:00"))],
                "b",
            ),
        ];
        for (pods, expected) in cases {
            assert_eq!(deleted(1, pods), [expected]);
        }
        let crowded = vec![
            pod("a", "n1", "Running", ready),
            pod("b", "n2", "Running", ready),
            pod("c", "n2", "Running", ready),
        ];
        assert_eq!(deleted(2, crowded), ["b"]);
        let mut cheap = (*pod("c", "n", "Running", ready)).clone();
        cheap.metadata.annotations =
            Some([(DELETION_COST.to_owned(), "-5".to_owned())].into_iter().collect());
        let priced = vec![pod("a", "n", "Running", ready), Arc::new(cheap)];
        assert_eq!(deleted(1, priced), ["c"]);
    }

    fn observed<'a>(pods: &'a [Arc<Pod>], min_ready_seconds: i32) -> Observed<'a> {
        Observed {
            replicas: 3,
            min_ready_seconds,
            generation: 2,
            template_labels: None,
            pods,
            terminating: Some(1),
            failure: None,
        }
    }

    #[test]
    fn a_pod_is_available_after_its_time() {
        let pods = [
            pod("a", "n", "Running", Some("09:00:00")),
            pod("b", "n", "Running", Some("09:59:55")),
            pod("c", "n", "Running", None),
        ];
        let (status, next) = status(&Status::default(), &observed(&pods, 10), now());
        assert_eq!((status.replicas, status.ready, status.available), (3, 2, 1));
        assert_eq!((status.observed_generation, status.terminating), (2, Some(1)));
        assert_eq!(next, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_failure_is_said_and_taken_back() {
        let failing = Observed { failure: Some("no quota"), ..observed(&[], 0) };
        let (failed, _) = status(&Status::default(), &failing, now());
        assert_eq!(failed.conditions[0].reason.as_deref(), Some("FailedCreate"));
        assert_eq!(failed.conditions[0].message.as_deref(), Some("no quota"));
        let (again, _) = status(&failed, &failing, now());
        assert_eq!(again, failed);
        let (healed, _) = status(&failed, &observed(&[], 0), now());
        assert!(healed.conditions.is_empty());
    }
}
