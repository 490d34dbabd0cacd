//! Nodes and pods in, pods to make and delete out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use super::{Plan, Snapshot, decide, pod_for, status, target};

fn now() -> Timestamp {
    "2026-01-01T10:00:00Z".parse().unwrap()
}

fn set(strategy: Value) -> DaemonSet {
    serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "n", "uid": "u",
        "generation": 4}, "spec": {"selector": {"matchLabels": {"d": "d"}},
        "updateStrategy": strategy, "template": {"metadata": {"labels": {"d": "d"}},
        "spec": {"containers": [], "nodeSelector": {"role": "worker"}}}}}))
    .unwrap()
}

fn node(name: &str, role: &str, taint: Option<&str>) -> Arc<Node> {
    let taints = taint.map(|effect| json!([{"key": "k", "effect": effect}]));
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": name, "labels": {"role": role}},
            "spec": {"taints": taints}}))
        .unwrap(),
    )
}

fn pod(node: &str, hash: &str, phase: &str, ready: bool) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": format!("{node}-{hash}"),
            "namespace": "n", "labels": {"controller-revision-hash": hash}},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "conditions": [{"type": "Ready",
                "status": if ready { "True" } else { "False" },
                "lastTransitionTime": "2026-01-01T09:00:00Z"}]}}))
        .unwrap(),
    )
}

fn plan_with(
    strategy: Value,
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    pauses: &BTreeMap<String, Duration>,
) -> Plan {
    let set = set(strategy);
    let snapshot = Snapshot { set: &set, nodes, pods, hash: "new", pauses, settled: true };
    decide(&snapshot, now())
}

fn rolling(unavailable: i32, surge: i32) -> Value {
    json!({"type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect()
}

#[test]
fn every_meant_node_has_one_pod() {
    let nodes = [
        node("a", "worker", None),
        node("b", "worker", None),
        node("other", "master", None),
        node("closed", "worker", Some("NoSchedule")),
        node("shut", "worker", Some("NoExecute")),
    ];
    let pods = [
        pod("b", "new", "Running", true),
        pod("other", "new", "Running", true),
        pod("closed", "new", "Running", true),
        pod("shut", "new", "Running", true),
    ];
    let plan = plan_with(rolling(1, 0), &nodes, &pods, &BTreeMap::new());
    assert_eq!(plan.create, ["a"]);
    assert_eq!(names(&plan.delete), ["other-new", "shut-new"]);
    assert_eq!(plan_with(rolling(1, 0), &[], &[], &BTreeMap::new()), Plan::default());
}

#[test]
fn failed_pods_are_replaced_after_a_pause() {
    let nodes = [node("a", "worker", None)];
    let pods = [pod("a", "new", "Failed", false)];
    let plan = plan_with(rolling(1, 0), &nodes, &pods, &BTreeMap::new());
    assert_eq!(names(&plan.delete), ["a-new"]);
    assert_eq!(
        plan.notes[0].message,
        "Found failed daemon pod n/a-new on node a, will try to kill it"
    );
    let pause = Duration::from_secs(3);
    let waiting = plan_with(rolling(1, 0), &nodes, &pods, &[("a".to_owned(), pause)].into());
    assert_eq!((waiting.delete.len(), waiting.again_after), (0, Some(pause)));
}

#[test]
fn a_rollout_keeps_to_its_bounds() {
    let nodes: Vec<_> = ["a", "b", "c"].map(|name| node(name, "worker", None)).into();
    let old = |name: &str, ready| pod(name, "old", "Running", ready);
    let new = |name: &str, ready| pod(name, "new", "Running", ready);
    let none = BTreeMap::new();
    let cases = [
        (rolling(1, 0), vec![old("a", true), old("b", true), old("c", true)], 0, vec!["a-old"]),
        (
            rolling(2, 0),
            vec![old("a", true), old("b", true), old("c", true)],
            0,
            vec!["a-old", "b-old"],
        ),
        (rolling(1, 0), vec![new("a", false), old("b", true), old("c", true)], 0, vec![]),
        (rolling(1, 0), vec![new("a", true), old("b", false), old("c", true)], 0, vec!["b-old"]),
        (
            json!({"type": "OnDelete"}),
            vec![old("a", true), old("b", true), old("c", true)],
            0,
            vec![],
        ),
        (rolling(0, 1), vec![old("a", true), old("b", true), old("c", true)], 1, vec![]),
        (
            rolling(0, 1),
            vec![old("a", true), new("a", false), old("b", true), old("c", true)],
            0,
            vec![],
        ),
        (
            rolling(0, 1),
            vec![old("a", true), new("a", true), old("b", true), old("c", true)],
            0,
            vec!["a-old"],
        ),
    ];
    for (strategy, pods, created, deleted) in cases {
        let plan = plan_with(strategy.clone(), &nodes, &pods, &none);
        assert_eq!(plan.create.len(), created, "{strategy} {:?}", names(&pods));
        assert_eq!(names(&plan.delete), deleted, "{strategy} {:?}", names(&pods));
    }
}

#[test]
fn a_pod_is_tied_to_its_node_and_stands_its_taints() {
    let pod = pod_for(&set(json!({})), "a", "h", OwnerReference::default());
    assert_eq!(target(&pod), Some("a"));
    let tolerations = pod.spec.unwrap().tolerations.unwrap();
    assert_eq!(tolerations.len(), 6);
    assert_eq!(pod.metadata.labels.unwrap()["controller-revision-hash"], "h");
}

#[test]
fn the_status_counts_nodes() {
    let set = set(rolling(1, 0));
    let nodes = [node("a", "worker", None), node("b", "worker", None), node("m", "master", None)];
    let pods = [pod("a", "new", "Running", true), pod("m", "old", "Running", true)];
    let pauses = BTreeMap::new();
    let snapshot = Snapshot {
        set: &set,
        nodes: &nodes,
        pods: &pods,
        hash: "new",
        pauses: &pauses,
        settled: true,
    };
    let (status, _) = status(&snapshot, now());
    assert_eq!(
        (status.desired_number_scheduled, status.current_number_scheduled, status.number_ready),
        (2, 1, 1)
    );
    assert_eq!((status.number_misscheduled, status.number_unavailable), (1, Some(1)));
    assert_eq!((status.updated_number_scheduled, status.observed_generation), (Some(1), Some(4)));
}
