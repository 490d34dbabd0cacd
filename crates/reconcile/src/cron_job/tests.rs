//! Schedules over time, and what a CronJob does about them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use serde_json::{Value, json};

use super::schedule::{Missed, Schedule};
use super::{Plan, Snapshot, decide};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn schedules_know_their_next_time() {
    let cases = [
        ("*/5 * * * *", None, "2026-01-01T10:02:00Z", Some("2026-01-01T10:05:00Z")),
        ("0 0 * * 0", None, "2026-01-01T10:02:00Z", Some("2026-01-04T00:00:00Z")),
        ("@hourly", None, "2026-01-01T10:02:00Z", Some("2026-01-01T11:00:00Z")),
        ("@every 90s", None, "2026-01-01T10:02:00.5Z", Some("2026-01-01T10:03:30Z")),
        ("0 9 * * *", Some("Europe/Berlin"), "2026-01-01T00:00:00Z", Some("2026-01-01T08:00:00Z")),
        ("TZ=Asia/Tokyo 0 9 * * *", None, "2026-01-01T01:00:00Z", Some("2026-01-02T00:00:00Z")),
        ("0 0 31 2 *", None, "2026-01-01T00:00:00Z", None),
    ];
    for (pattern, zone, from, expected) in cases {
        let schedule = Schedule::parse(pattern, zone).unwrap();
        assert_eq!(schedule.next(at(from)), expected.map(at), "{pattern}");
    }
    for (pattern, zone) in
        [("bad", None), ("* * * *", None), ("* * * * *", Some("Nowhere/X")), ("@every x", None)]
    {
        assert!(Schedule::parse(pattern, zone).is_err(), "{pattern}");
    }
}

#[test]
fn missed_times_are_found_without_walking_them_all() {
    let minutely = Schedule::parse("* * * * *", None).unwrap();
    let now = at("2026-01-01T10:00:30Z");
    let cases = [
        ("2026-01-01T10:00:00Z", None, None),
        ("2026-01-01T09:59:30Z", None, Some(("2026-01-01T10:00:00Z", false))),
        ("2026-01-01T09:50:00Z", None, Some(("2026-01-01T10:00:00Z", false))),
        ("1990-01-01T00:00:00Z", None, Some(("2026-01-01T10:00:00Z", true))),
        ("1990-01-01T00:00:00Z", Some(10), None),
        ("1990-01-01T00:00:00Z", Some(40), Some(("2026-01-01T10:00:00Z", false))),
    ];
    for (since, deadline, expected) in cases {
        let expected = expected.map(|(latest, many)| Missed { latest: at(latest), many });
        assert_eq!(minutely.missed(at(since), deadline, now).unwrap(), expected, "{since}");
    }
}

fn cron(spec: Value, status: Value) -> CronJob {
    let mut full = json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {}}}});
    for (key, value) in spec.as_object().unwrap() {
        full[key] = value.clone();
    }
    serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "n", "uid": "u",
        "creationTimestamp": "2026-01-01T09:59:50Z"}, "spec": full, "status": status}))
    .unwrap()
}

fn job(name: &str, condition: Option<&str>) -> Arc<Job> {
    let conditions = condition.map(|kind| json!([{"type": kind, "status": "True"}]));
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": name, "uid": name},
            "status": {"conditions": conditions, "startTime": "2026-01-01T09:00:00Z",
            "completionTime": "2026-01-01T09:01:00Z"}}))
        .unwrap(),
    )
}

fn plan(cron: &CronJob, jobs: &[Arc<Job>]) -> Plan {
    decide(&Snapshot { cron, jobs }, at("2026-01-01T10:00:10Z"))
}

fn reasons(plan: &Plan) -> Vec<&str> {
    plan.notes.iter().map(|note| &*note.reason).collect()
}

#[test]
fn a_job_starts_once_per_time() {
    let due = plan(&cron(json!({}), json!({})), &[]);
    let made = due.create.unwrap();
    assert_eq!(made.metadata.name.as_deref(), Some("c-29454360"));
    assert_eq!(
        made.metadata.annotations.unwrap()["batch.kubernetes.io/cronjob-scheduled-timestamp"],
        "2026-01-01T10:00:00Z"
    );
    assert_eq!(due.again_after, Some(Duration::from_millis(50_100)));
    let done = json!({"lastScheduleTime": "2026-01-01T10:00:00Z"});
    assert!(plan(&cron(json!({}), done), &[]).create.is_none());
    assert!(plan(&cron(json!({"suspend": true}), json!({})), &[]).create.is_none());
    let late = plan(&cron(json!({"startingDeadlineSeconds": 5}), json!({})), &[]);
    assert!(late.create.is_none());
    let bad = plan(&cron(json!({"schedule": "x"}), json!({})), &[]);
    assert_eq!((reasons(&bad), bad.again_after), (vec!["UnparseableSchedule"], None));
}

#[test]
fn a_running_job_matters_by_policy() {
    let running = [job("r", None)];
    let active = json!({"active": [{"name": "r", "uid": "r"}]});
    let forbid = plan(&cron(json!({"concurrencyPolicy": "Forbid"}), active.clone()), &running);
    assert_eq!(reasons(&forbid), ["JobAlreadyActive"]);
    assert_eq!(forbid.create, None);
    let replace = plan(&cron(json!({"concurrencyPolicy": "Replace"}), active.clone()), &running);
    assert_eq!((replace.delete.len(), replace.create.is_some()), (1, true));
    let allow = plan(&cron(json!({}), active), &running);
    assert_eq!((allow.delete.len(), allow.create.is_some()), (0, true));
}

#[test]
fn finished_jobs_leave_the_list_and_old_ones_go() {
    let jobs = [job("a", Some("Complete")), job("b", Some("Complete")), job("f", Some("Failed"))];
    let spec = json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1});
    let active = json!({"active": [{"name": "a", "uid": "a"}, {"name": "x", "uid": "x"}]});
    let plan = plan(&cron(spec, active), &jobs);
    assert_eq!(reasons(&plan), ["SawCompletedJob", "MissingJob"]);
    assert_eq!(plan.status.active, None);
    assert!(plan.status.last_successful_time.is_some());
    let gone: Vec<_> = plan.delete.iter().map(|job| job.metadata.name.clone().unwrap()).collect();
    assert_eq!(gone, ["a"]);
}
