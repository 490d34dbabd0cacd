//! Rounds of a Job, from one snapshot each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::backoff::Backoff;
use super::{Plan, Snapshot, decide};

fn now() -> Timestamp {
    "2026-01-01T10:00:00Z".parse().unwrap()
}

fn job(spec: Value, status: Value) -> Job {
    let mut full = json!({"template": {"metadata": {"labels": {"j": "j"}},
        "spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}},
        "parallelism": 1, "completions": 1, "backoffLimit": 2});
    let fields = full.as_object_mut().unwrap();
    for (key, value) in spec.as_object().unwrap() {
        fields.insert(key.clone(), value.clone());
    }
    serde_json::from_value(json!({"metadata": {"name": "job", "namespace": "n", "uid": "u"},
        "spec": full, "status": status}))
    .unwrap()
}

fn pod(name: &str, phase: &str, extra: Value) -> Arc<Pod> {
    let mut value = json!({"metadata": {"name": name, "uid": name,
        "finalizers": ["batch.kubernetes.io/job-tracking"],
        "creationTimestamp": "2026-01-01T09:00:00Z"}, "status": {"phase": phase}});
    for (key, field) in extra.as_object().unwrap() {
        value["metadata"][key] = field.clone();
    }
    Arc::new(serde_json::from_value(value).unwrap())
}

fn plain(name: &str, phase: &str) -> Arc<Pod> {
    pod(name, phase, json!({}))
}

fn indexed(name: &str, phase: &str, index: i32) -> Arc<Pod> {
    pod(
        name,
        phase,
        json!({"annotations": {
        "batch.kubernetes.io/job-completion-index": index.to_string()}}),
    )
}

fn plan_of(job: &Job, pods: &[Arc<Pod>]) -> Plan {
    let released = BTreeSet::new();
    let snapshot =
        Snapshot { job, pods, settled: true, released: &released, backoff: Backoff::default() };
    decide(&snapshot, now())
}

fn conditions(job_status: &k8s_openapi::api::batch::v1::JobStatus) -> Vec<String> {
    let conditions = job_status.conditions.iter().flatten();
    conditions.map(|c| format!("{}:{}", c.type_, c.reason.clone().unwrap_or_default())).collect()
}

/// Runs a round to its end with every finalizer removed: the conditions afterwards.
fn ended(plan: Plan) -> Vec<String> {
    let tracking = plan.tracking.unwrap();
    let before = conditions(&tracking.status);
    let released: BTreeSet<String> =
        tracking.release.iter().map(|pod| pod.metadata.uid.clone().unwrap()).collect();
    match tracking.settle(&released, now()).0 {
        Some(status) => conditions(&status),
        None => before,
    }
}

#[test]
fn as_many_pods_as_are_missing_are_made() {
    let cases = [
        (json!({}), vec![], 1),
        (json!({"parallelism": 3, "completions": 5}), vec![], 3),
        (json!({"parallelism": 3, "completions": 5}), vec![plain("a", "Running")], 2),
        (json!({"parallelism": 3, "completions": 2}), vec![plain("a", "Succeeded")], 1),
        (json!({"parallelism": 3, "completions": null}), vec![], 3),
        (json!({"parallelism": 3, "completions": null}), vec![plain("a", "Succeeded")], 0),
        (json!({"parallelism": 0}), vec![], 0),
        (json!({"parallelism": 9000, "completions": 9000}), vec![], super::BURST),
        (json!({"suspend": true}), vec![], 0),
    ];
    for (spec, pods, expected) in cases {
        let plan = plan_of(&job(spec.clone(), json!({})), &pods);
        assert_eq!(plan.create.len(), expected, "{spec}");
    }
}

#[test]
fn pods_beyond_the_parallelism_and_those_of_a_suspended_job_go() {
    let running = [plain("a", "Running"), plain("b", "Pending"), plain("c", "Running")];
    let less = plan_of(&job(json!({"parallelism": 2, "completions": 9}), json!({})), &running);
    assert_eq!(
        less.delete.iter().map(|p| p.metadata.name.clone().unwrap()).collect::<Vec<_>>(),
        ["b"]
    );
    let suspended = plan_of(&job(json!({"suspend": true}), json!({})), &running);
    assert_eq!(suspended.delete.len(), 3);
    assert_eq!(suspended.notes[0].reason, "Suspended");
    assert_eq!(conditions(&suspended.tracking.unwrap().status), ["Suspended:JobSuspended"]);
}

#[test]
fn a_finished_pod_is_listed_then_freed_then_counted() {
    let plan = plan_of(&job(json!({"completions": 2}), json!({})), &[plain("a", "Succeeded")]);
    let tracking = plan.tracking.unwrap();
    let listed = tracking.status.uncounted_terminated_pods.clone().unwrap();
    assert_eq!(listed.succeeded, Some(vec!["a".to_owned()]));
    assert_eq!(tracking.status.succeeded, None);
    assert_eq!(tracking.release.len(), 1);
    let kept = tracking.clone().settle(&BTreeSet::new(), now());
    assert_eq!(kept.0, None, "nothing is counted before the finalizer is gone");
    let (status, _) = tracking.settle(&["a".to_owned()].into(), now());
    assert_eq!(status.unwrap().succeeded, Some(1));
    let again = json!({"succeeded": 0, "uncountedTerminatedPods": {"succeeded": ["a"]}});
    let counted = plan_of(&job(json!({"completions": 2}), again), &[]).tracking.unwrap();
    assert_eq!(counted.status.succeeded, Some(1), "a crash in between loses nothing");
}

#[test]
fn jobs_end_for_their_reason() {
    let start = "2026-01-01T09:59:00Z";
    let cases = [
        (
            json!({}),
            json!({}),
            vec![plain("a", "Succeeded")],
            vec!["SuccessCriteriaMet:CompletionsReached", "Complete:CompletionsReached"],
        ),
        (
            json!({"backoffLimit": 0}),
            json!({}),
            vec![plain("a", "Failed")],
            vec!["FailureTarget:BackoffLimitExceeded", "Failed:BackoffLimitExceeded"],
        ),
        (
            json!({"activeDeadlineSeconds": 30}),
            json!({"startTime": start}),
            vec![],
            vec!["FailureTarget:DeadlineExceeded", "Failed:DeadlineExceeded"],
        ),
        (json!({"activeDeadlineSeconds": 90}), json!({"startTime": start}), vec![], vec![]),
        (
            json!({"completionMode": "Indexed", "completions": 2, "maxFailedIndexes": 0,
            "backoffLimitPerIndex": 0}),
            json!({}),
            vec![indexed("a", "Failed", 0)],
            vec!["FailureTarget:MaxFailedIndexesExceeded", "Failed:MaxFailedIndexesExceeded"],
        ),
        (
            json!({"completionMode": "Indexed", "completions": 1, "backoffLimitPerIndex": 0}),
            json!({}),
            vec![indexed("a", "Failed", 0)],
            vec!["FailureTarget:FailedIndexes", "Failed:FailedIndexes"],
        ),
        (
            json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3,
            "successPolicy": {"rules": [{"succeededIndexes": "1"}]}}),
            json!({}),
            vec![indexed("a", "Succeeded", 1)],
            vec!["SuccessCriteriaMet:SuccessPolicy", "Complete:SuccessPolicy"],
        ),
    ];
    for (spec, status, pods, expected) in cases {
        assert_eq!(ended(plan_of(&job(spec.clone(), status), &pods)), expected, "{spec}");
    }
}

#[test]
fn an_end_waits_for_the_last_pod() {
    let failing = job(json!({"backoffLimit": 0, "parallelism": 2, "completions": 2}), json!({}));
    let plan = plan_of(&failing, &[plain("a", "Failed"), plain("b", "Running")]);
    assert_eq!(plan.delete.len(), 1);
    assert_eq!(ended(plan), ["FailureTarget:BackoffLimitExceeded"]);
}

#[test]
fn failures_pause_the_next_pod() {
    let released = BTreeSet::new();
    let backoff = Backoff { failures: 1, last: Some(now()) };
    let retried = job(json!({}), json!({"failed": 1}));
    let snapshot =
        Snapshot { job: &retried, pods: &[], settled: true, released: &released, backoff };
    let plan = decide(&snapshot, now());
    assert!(plan.create.is_empty());
    assert_eq!(plan.again_after, Some(Duration::from_secs(10)));
}

#[test]
fn indexes_get_their_names_and_are_not_doubled() {
    let spec = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 4});
    let pods = [indexed("a", "Running", 0), indexed("b", "Succeeded", 2)];
    let plan = plan_of(&job(spec.clone(), json!({})), &pods);
    let names: Vec<_> = plan
        .create
        .iter()
        .map(|pod| {
            (
                pod.metadata.generate_name.clone().unwrap(),
                pod.spec.clone().unwrap().hostname.unwrap(),
            )
        })
        .collect();
    assert_eq!(
        names,
        [("job-1-".to_owned(), "job-1".to_owned()), ("job-3-".to_owned(), "job-3".to_owned())]
    );
    let env = plan.create[0].spec.clone().unwrap().containers[0].env.clone().unwrap();
    assert_eq!(env[0].name, "JOB_COMPLETION_INDEX");
    assert_eq!(plan.tracking.unwrap().status.completed_indexes.as_deref(), Some("2"));
    let doubled =
        [indexed("a", "Running", 0), indexed("b", "Pending", 0), indexed("c", "Running", 9)];
    let fewer = plan_of(&job(spec, json!({})), &doubled);
    let mut gone: Vec<_> = fewer.delete.iter().map(|p| p.metadata.name.clone().unwrap()).collect();
    gone.sort();
    assert_eq!(gone, ["b", "c"]);
}

#[test]
fn a_job_of_another_or_at_its_end_is_left_alone() {
    let ended = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    assert_eq!(plan_of(&job(json!({}), ended), &[]), Plan::default());
    assert_eq!(plan_of(&job(json!({"managedBy": "x/y"}), json!({})), &[]), Plan::default());
    let mut deleted = job(json!({}), json!({}));
    deleted.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let plan = plan_of(&deleted, &[plain("a", "Running")]);
    assert!(plan.create.is_empty() && plan.delete.is_empty());
    assert_eq!(plan.tracking.unwrap().release.len(), 1, "nothing holds its pods");
}
