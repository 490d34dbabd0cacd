//! When a finished Job is deleted by itself.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;

use crate::job::facts::condition;

/// What becomes of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing, until it changes.
    Keep,
    /// Its time is not over yet.
    After(Duration),
    /// It goes.
    Delete,
}

/// Decides by when the Job ended.
pub fn decide(job: &Job, now: Timestamp) -> Decision {
    let seconds = job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished);
    let Some(seconds) = seconds.filter(|_| job.metadata.deletion_timestamp.is_none()) else {
        return Decision::Keep;
    };
    let ended = condition(job, "Complete").or_else(|| condition(job, "Failed"));
    let Some(time) = ended.and_then(|ended| ended.last_transition_time.as_ref()) else {
        return Decision::Keep;
    };
    let Ok(due) = time.0.checked_add(SignedDuration::from_secs(i64::from(seconds))) else {
        return Decision::Keep;
    };
    match Duration::try_from(due.duration_since(now)) {
        Ok(left) if !left.is_zero() => Decision::After(left),
        _ => Decision::Delete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_finished_job_goes_when_its_time_is_over() {
        let job = |ttl: Option<i32>, kind: &str, deleted: Option<&str>| -> Job {
            serde_json::from_value(json!({
                "metadata": {"deletionTimestamp": deleted},
                "spec": {"ttlSecondsAfterFinished": ttl, "template": {}},
                "status": {"conditions": [{"type": kind, "status": "True",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
            .unwrap()
        };
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let deleted = Some("2026-01-01T00:00:00Z");
        let cases = [
            (job(None, "Complete", None), Decision::Keep),
            (job(Some(5), "Suspended", None), Decision::Keep),
            (job(Some(5), "Complete", None), Decision::Delete),
            (job(Some(0), "Failed", None), Decision::Delete),
            (job(Some(30), "Failed", None), Decision::After(Duration::from_secs(20))),
            (job(Some(5), "Complete", deleted), Decision::Keep),
        ];
        for (job, expected) in cases {
            assert_eq!(decide(&job, now), expected, "{job:?}");
        }
    }
}
