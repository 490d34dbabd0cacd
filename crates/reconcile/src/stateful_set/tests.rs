//! Sets, pods and claims in, steps out.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::{Plan, Snapshot, Step, Version, decide};

type Pods = Vec<Arc<Pod>>;

fn now() -> Timestamp {
    "2026-01-01T10:00:00Z".parse().unwrap()
}

fn set(spec: Value) -> StatefulSet {
    let mut full = json!({"serviceName": "svc", "selector": {"matchLabels": {"s": "s"}},
        "template": {"metadata": {"labels": {"s": "s"}}, "spec": {"containers": []}},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}});
    for (key, value) in spec.as_object().unwrap() {
        full[key] = value.clone();
    }
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "u"},
        "spec": full}))
    .unwrap()
}

fn pod(ordinal: i32, version: &str, state: &str) -> Arc<Pod> {
    let (phase, ready) = match state {
        "ready" | "going" => ("Running", "True"),
        "failed" => ("Failed", "False"),
        _ => ("Pending", "False"),
    };
    let name = format!("web-{ordinal}");
    let deleted = (state == "going").then_some("2026-01-01T09:59:00Z");
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": name, "uid": name, "namespace": "n",
            "deletionTimestamp": deleted, "labels": {"controller-revision-hash": version,
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": ordinal.to_string()}},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready,
            "lastTransitionTime": "2026-01-01T09:00:00Z"}]}}))
        .unwrap(),
    )
}

fn version(name: &str) -> Version {
    Version { revision: name.to_owned(), template: Default::default() }
}

fn plan_with(
    set: &StatefulSet,
    pods: &[Arc<Pod>],
    claims: &BTreeMap<String, Arc<PersistentVolumeClaim>>,
) -> Plan {
    let (current, update) = (version("old"), version("new"));
    let snapshot =
        Snapshot { set, pods, claims, current: &current, update: &update, collisions: 0 };
    decide(&snapshot, now())
}

fn steps(set: &StatefulSet, pods: &[Arc<Pod>]) -> Vec<String> {
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap();
    let line = |step: &Step| match step {
        Step::Create { pod, .. } => format!("create {}", name(pod)),
        Step::Claim { pod, .. } => format!("claim {}", name(pod)),
        Step::Update(pod) => format!("update {}", name(pod)),
        Step::Own(claim) => format!("own {}", claim.metadata.name.clone().unwrap()),
        Step::Delete(pod) => format!("delete {}", name(pod)),
    };
    plan_with(set, pods, &BTreeMap::new()).steps.iter().map(line).collect()
}

#[test]
fn an_ordered_set_grows_and_shrinks_one_by_one() {
    let three = set(json!({"replicas": 3}));
    let cases: Vec<(&StatefulSet, Pods, Vec<&str>)> = vec![
        (&three, vec![], vec!["create web-0"]),
        (&three, vec![pod(0, "new", "pending")], vec![]),
        (&three, vec![pod(0, "new", "ready")], vec!["create web-1"]),
        (&three, vec![pod(0, "new", "ready"), pod(1, "new", "failed")], vec!["delete web-1"]),
        (&three, vec![pod(0, "new", "ready"), pod(1, "new", "going")], vec![]),
        (&three, (0..5).map(|i| pod(i, "new", "ready")).collect(), vec!["delete web-4"]),
    ];
    for (set, pods, expected) in cases {
        assert_eq!(steps(set, &pods), expected);
    }
    let mut unwell: Vec<_> = (0..5).map(|i| pod(i, "new", "ready")).collect();
    unwell[4] = pod(4, "new", "pending");
    assert_eq!(steps(&three, &unwell), ["delete web-4"]);
    unwell[3] = pod(3, "new", "pending");
    assert_eq!(steps(&three, &unwell), [""; 0]);
}

#[test]
fn a_parallel_set_does_not_wait() {
    let parallel = set(json!({"replicas": 3, "podManagementPolicy": "Parallel"}));
    assert_eq!(steps(&parallel, &[]), ["create web-0", "create web-1", "create web-2"]);
    let more: Vec<_> = (0..5).map(|i| pod(i, "new", "pending")).collect();
    assert_eq!(steps(&parallel, &more), ["delete web-4", "delete web-3"]);
}

#[test]
fn ordinals_may_start_elsewhere() {
    let shifted = set(json!({"replicas": 2, "ordinals": {"start": 5}}));
    assert_eq!(steps(&shifted, &[]), ["create web-5"]);
    let pods = [pod(4, "new", "ready"), pod(5, "new", "ready"), pod(6, "new", "ready")];
    assert_eq!(steps(&shifted, &pods), ["delete web-4"]);
}

#[test]
fn a_rollout_goes_from_the_top_down_to_the_partition() {
    let pods = |versions: [&str; 3], states: [&str; 3]| -> Vec<Arc<Pod>> {
        (0..)
            .zip(versions)
            .zip(states)
            .map(|((i, version), state)| pod(i, version, state))
            .collect()
    };
    let ready = ["ready"; 3];
    let rolling = |partition: i32| {
        json!({"replicas": 3, "updateStrategy":
        {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}})
    };
    let cases: Vec<(Value, Pods, Vec<&str>)> = vec![
        (rolling(0), pods(["old"; 3], ready), vec!["delete web-2"]),
        (rolling(0), pods(["old", "old", "new"], ready), vec!["delete web-1"]),
        (rolling(2), pods(["old", "old", "new"], ready), vec![]),
        (rolling(0), pods(["old", "old", "new"], ["ready", "ready", "pending"]), vec![]),
        (
            json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}),
            pods(["old"; 3], ready),
            vec![],
        ),
        (
            json!({"replicas": 3, "podManagementPolicy": "Parallel", "updateStrategy":
            {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}}),
            pods(["old"; 3], ready),
            vec!["delete web-2", "delete web-1"],
        ),
    ];
    for (spec, pods, expected) in cases {
        assert_eq!(steps(&set(spec.clone()), &pods), expected, "{spec}");
    }
}

#[test]
fn a_pod_has_its_name_its_host_and_its_claims() {
    let stored = set(json!({"replicas": 1, "volumeClaimTemplates": [
        {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]}));
    let plan = plan_with(&stored, &[], &BTreeMap::new());
    let Step::Create { pod, claims } = &plan.steps[0] else { panic!("{plan:?}") };
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("web-0"), Some("svc")));
    let volume = &spec.volumes.as_ref().unwrap()[0];
    assert_eq!(volume.persistent_volume_claim.as_ref().unwrap().claim_name, "data-web-0");
    assert_eq!(claims[0].metadata.name.as_deref(), Some("data-web-0"));
    let labels = pod.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["controller-revision-hash"], "new");
    assert_eq!(labels["apps.kubernetes.io/pod-index"], "0");
}

#[test]
fn claims_go_with_whom_the_policy_names() {
    let with = |scaled: &str, deleted: &str, replicas: i32| {
        set(json!({"replicas": replicas,
        "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
        "persistentVolumeClaimRetentionPolicy": {"whenScaled": scaled, "whenDeleted": deleted}}))
    };
    let claim: PersistentVolumeClaim =
        serde_json::from_value(json!({"metadata": {"name": "data-web-0"}})).unwrap();
    let claims = BTreeMap::from([("data-web-0".to_owned(), Arc::new(claim))]);
    let pods = [pod(0, "new", "ready")];
    let owner = |set: &StatefulSet| {
        let plan = plan_with(set, &pods, &claims);
        plan.steps.iter().find_map(|step| match step {
            Step::Own(claim) => {
                Some(claim.metadata.owner_references.clone().unwrap()[0].kind.clone())
            }
            _ => None,
        })
    };
    assert_eq!(owner(&with("Retain", "Retain", 1)), None);
    assert_eq!(owner(&with("Retain", "Delete", 1)).as_deref(), Some("StatefulSet"));
    assert_eq!(owner(&with("Delete", "Retain", 1)), None);
    assert_eq!(owner(&with("Delete", "Retain", 0)).as_deref(), Some("Pod"));
    assert_eq!(owner(&with("Delete", "Delete", 0)).as_deref(), Some("Pod"));
}

#[test]
fn a_complete_rollout_makes_the_new_version_current() {
    let two = set(json!({"replicas": 2}));
    let done = plan_with(&two, &[pod(0, "new", "ready"), pod(1, "new", "ready")], &BTreeMap::new());
    assert_eq!(done.status.current_revision.as_deref(), Some("new"));
    assert_eq!((done.status.current_replicas, done.status.replicas), (Some(2), 2));
    let half = plan_with(&two, &[pod(0, "old", "ready"), pod(1, "new", "ready")], &BTreeMap::new());
    assert_eq!(half.status.current_revision.as_deref(), Some("old"));
}

#[test]
fn a_deleted_set_does_nothing_more() {
    let mut going = set(json!({"replicas": 2}));
    going.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    assert_eq!(steps(&going, &[]), [""; 0]);
}
