//! Deployments and ReplicaSets in, plans out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::{Value, json};

use super::{Plan, Snapshot, decide};

fn now() -> Timestamp {
    "2026-01-01T10:00:00Z".parse().unwrap()
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn deployment(replicas: i32, extra: Value) -> Deployment {
    let mut spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": template("new"), "progressDeadlineSeconds": 600, "revisionHistoryLimit": 1,
        "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}});
    for (key, value) in extra.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "u",
        "generation": 2}, "spec": spec}))
    .unwrap()
}

/// A ReplicaSet with its size, the Deployment's size when it was scaled, and its available pods.
fn set(image: &str, revision: i64, replicas: i32, desired: i32, available: i32) -> Arc<ReplicaSet> {
    let most = desired + (desired + 3) / 4;
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": format!("web-{image}"), "uid": image,
            "generation": 1, "creationTimestamp": format!("2026-01-01T09:00:{revision:02}Z"),
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string(),
                "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                "deployment.kubernetes.io/max-replicas": most.to_string()}},
            "spec": {"replicas": replicas, "selector": {}, "template": template(image)},
            "status": {"replicas": replicas, "readyReplicas": available,
                "availableReplicas": available, "observedGeneration": 1}}))
        .unwrap(),
    )
}

fn plan(deployment: &Deployment, sets: &[Arc<ReplicaSet>], running: &[&str]) -> Plan {
    let running: BTreeSet<String> = running.iter().map(|uid| (*uid).to_owned()).collect();
    let snapshot = Snapshot { deployment, replica_sets: sets, running: &running };
    decide(&snapshot, now())
}

fn sizes(plan: &Plan) -> Vec<(String, i32)> {
    let changed = plan.update.iter().filter(|update| update.from != update.to);
    changed.map(|u| (u.replica_set.metadata.name.clone().unwrap(), u.to)).collect()
}

fn reason(plan: &Plan, kind: &str) -> String {
    let conditions = plan.status.as_ref().unwrap().conditions.as_ref().unwrap();
    let found = conditions.iter().find(|condition| condition.type_.as_deref() == Some(kind));
    found.and_then(|condition| condition.reason.clone()).unwrap_or_default()
}

#[test]
fn a_new_template_gets_its_replica_set() {
    let plan = plan(&deployment(3, json!({})), &[], &[]);
    let made = plan.create.as_ref().unwrap();
    assert_eq!(made.spec.replicas, Some(3));
    assert_eq!(made.metadata.annotations.as_ref().unwrap()[super::REVISION], "1");
    assert!(made.spec.selector.match_labels.as_ref().unwrap().contains_key("pod-template-hash"));
    assert_eq!(plan.revision.as_deref(), Some("1"));
    assert_eq!(reason(&plan, "Progressing"), "NewReplicaSetCreated");
    assert_eq!(reason(&plan, "Available"), "MinimumReplicasUnavailable");
}

#[test]
fn a_rollout_grows_then_shrinks_within_its_bounds() {
    let eight = deployment(8, json!({}));
    let sized = |pairs: &[(&str, i32)]| -> Vec<(String, i32)> {
        pairs.iter().map(|(name, size)| (format!("web-{name}"), *size)).collect()
    };
    let cases = [
        // Grows by the surge of two first.
        (vec![set("old", 1, 8, 8, 8), set("new", 2, 0, 8, 0)], sized(&[("new", 2)])),
        // Then two may be missing.
        (vec![set("old", 1, 8, 8, 8), set("new", 2, 2, 8, 0)], sized(&[("old", 6)])),
        (vec![set("old", 1, 6, 8, 6), set("new", 2, 4, 8, 0)], vec![]),
        (vec![set("old", 1, 6, 8, 6), set("new", 2, 4, 8, 4)], sized(&[("old", 2)])),
        // A status that is older than the size does not let too many go.
        (vec![set("old", 1, 6, 8, 8), set("new", 2, 4, 8, 2)], sized(&[("old", 4)])),
        // Pods that are not available go at once.
        (vec![set("old", 1, 8, 8, 5), set("new", 2, 2, 8, 0)], sized(&[("old", 6)])),
        (vec![set("old", 1, 0, 8, 0), set("new", 2, 8, 8, 8)], vec![]),
    ];
    for (sets, expected) in cases {
        assert_eq!(sizes(&plan(&eight, &sets, &[])), expected, "{sets:?}");
    }
}

#[test]
fn room_is_free_only_when_the_old_pods_go() {
    let mut shrunk = (*set("old", 1, 6, 8, 6)).clone();
    shrunk.status.as_mut().unwrap().replicas = 8;
    let new = set("new", 2, 2, 8, 0);
    let eight = deployment(8, json!({}));
    assert!(sizes(&plan(&eight, &[Arc::new(shrunk.clone()), Arc::clone(&new)], &[])).is_empty());
    shrunk.status.as_mut().unwrap().replicas = 6;
    let grows = plan(&eight, &[Arc::new(shrunk), new], &[]);
    assert_eq!(sizes(&grows), [("web-new".to_owned(), 4)]);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let recreate = deployment(3, json!({"strategy": {"type": "Recreate"}}));
    let shrinks = plan(&recreate, &[set("old", 1, 3, 3, 3)], &["old"]);
    assert_eq!(sizes(&shrinks), [("web-old".to_owned(), 0)]);
    assert!(shrinks.create.is_none());
    let waits = plan(&recreate, &[set("old", 1, 0, 3, 0)], &["old"]);
    assert!(waits.create.is_none() && waits.update.is_empty());
    let starts = plan(&recreate, &[set("old", 1, 0, 3, 0)], &[]);
    assert_eq!(starts.create.unwrap().spec.replicas, Some(3));
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_shared() {
    let twenty = deployment(20, json!({}));
    let sets = [set("old", 1, 8, 10, 8), set("new", 2, 5, 10, 5)];
    let total: i32 = sizes(&plan(&twenty, &sets, &[])).iter().map(|(_, size)| size).sum();
    assert_eq!(total, 25);
    let paused = deployment(20, json!({"paused": true}));
    assert_eq!(sizes(&plan(&paused, &[set("new", 1, 5, 5, 5)], &[])), [("web-new".to_owned(), 20)]);
    assert!(plan(&paused, &[], &[]).create.is_none());
}

#[test]
fn an_old_template_comes_back_with_a_new_revision() {
    let sets = [set("new", 1, 0, 3, 0), set("old", 2, 3, 3, 3)];
    let plan = plan(&deployment(3, json!({})), &sets, &[]);
    assert!(plan.create.is_none());
    let back = &plan.update[0].replica_set.metadata.annotations.clone().unwrap();
    assert_eq!(back[super::REVISION], "3");
    assert_eq!(back[super::REVISION_HISTORY], "1");
    assert_eq!(plan.revision.as_deref(), Some("3"));
}

#[test]
fn a_rollout_that_stands_still_is_called_so() {
    let mut stuck = deployment(3, json!({"progressDeadlineSeconds": 60}));
    let waiting = |since: &str| {
        json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3,
        "unavailableReplicas": 3, "terminatingReplicas": 0, "conditions": [
        {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated",
            "lastUpdateTime": since, "lastTransitionTime": since},
        {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"}]})
    };
    stuck.metadata.annotations =
        Some([(super::REVISION.to_owned(), "1".to_owned())].into_iter().collect());
    let sets = [set("new", 1, 3, 3, 0)];
    stuck.status = Some(serde_json::from_value(waiting("2026-01-01T09:59:30Z")).unwrap());
    let early = plan(&stuck, &sets, &[]);
    assert_eq!((early.status, early.again_after), (None, Some(Duration::from_secs(31))));
    stuck.status = Some(serde_json::from_value(waiting("2026-01-01T09:58:00Z")).unwrap());
    assert_eq!(reason(&plan(&stuck, &sets, &[]), "Progressing"), "ProgressDeadlineExceeded");
}

#[test]
fn old_replica_sets_go_when_history_is_full() {
    let mut done = deployment(1, json!({}));
    done.status = Some(
        serde_json::from_value(json!({"observedGeneration": 2, "replicas": 1,
            "updatedReplicas": 1, "availableReplicas": 1}))
        .unwrap(),
    );
    let sets =
        [set("a", 1, 0, 1, 0), set("b", 2, 0, 1, 0), set("c", 3, 0, 1, 0), set("new", 4, 1, 1, 1)];
    assert_eq!(plan(&done, &sets, &[]).delete, ["web-a", "web-b"]);
}

#[test]
fn a_selector_for_everything_or_a_deletion_stops_it() {
    let all = plan(&deployment(3, json!({"selector": {}})), &[], &[]);
    assert_eq!((&*all.notes[0].reason, all.create), ("SelectingAll", None));
    let mut going = deployment(3, json!({}));
    going.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let plan = plan(&going, &[], &[]);
    assert!(plan.create.is_none() && plan.update.is_empty());
}
