//! How long a Job waits before it makes another pod for one that failed.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::pods;

const PAUSE_MIN: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Failures since the last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    /// How many.
    pub failures: u32,
    /// When the last was.
    pub last: Option<Timestamp>,
}

impl Backoff {
    /// The record after more pods have finished.
    #[must_use]
    pub fn after(self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let last_success = succeeded.iter().map(|pod| finished(pod)).max();
        let times = failed.iter().map(|pod| finished(pod));
        let newer: Vec<_> = times.filter(|time| last_success.is_none_or(|s| *time > s)).collect();
        let before = if last_success.is_some() { Self::default() } else { self };
        Self {
            failures: before.failures + u32::try_from(newer.len()).unwrap_or(u32::MAX),
            last: newer.into_iter().max().or(before.last),
        }
    }

    /// How long to wait from now on.
    pub fn remaining(self, now: Timestamp) -> Duration {
        let Some(last) = self.last.filter(|_| self.failures > 0) else { return Duration::ZERO };
        let doublings = (self.failures - 1).min(16);
        let pause = PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX);
        let elapsed = Duration::try_from(now.duration_since(last)).unwrap_or_default();
        pause.saturating_sub(elapsed)
    }
}

/// When a pod ended: by its containers, else by its readiness, its deletion, its creation.
pub fn finished(pod: &Pod) -> Timestamp {
    by_containers(pod)
        .or_else(|| by_readiness(pod))
        .or_else(|| by_deletion(pod))
        .or_else(|| pods::created(&pod.metadata))
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

fn by_containers(pod: &Pod) -> Option<Timestamp> {
    let ended = |status: &ContainerStatus| {
        status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|time| time.0)
    };
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let times: Option<Vec<Timestamp>> = statuses.iter().map(ended).collect();
    times?.into_iter().max()
}

fn by_readiness(pod: &Pod) -> Option<Timestamp> {
    let ready = pods::condition(pod, "Ready").filter(|condition| condition.status == "False")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

fn by_deletion(pod: &Pod) -> Option<Timestamp> {
    let deletion = pod.metadata.deletion_timestamp.as_ref()?.0;
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
    deletion.checked_sub(SignedDuration::from_secs(grace)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(second: i64) -> Arc<Pod> {
        let at = Timestamp::from_second(second).unwrap();
        Arc::new(
            serde_json::from_value(json!({"status": {"containerStatuses": [{"name": "c",
                "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 1, "finishedAt": at}}}]}}))
            .unwrap(),
        )
    }

    #[test]
    fn pauses_double_and_a_success_ends_them() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let one = Backoff::default().after(&[], &[pod(100)]);
        assert_eq!(one, Backoff { failures: 1, last: Some(at(100)) });
        assert_eq!(one.remaining(at(104)), Duration::from_secs(6));
        let three = one.after(&[], &[pod(110), pod(120)]);
        assert_eq!(three.remaining(at(120)), Duration::from_secs(40));
        assert_eq!(Backoff { failures: 60, ..three }.remaining(at(120)), PAUSE_MAX);
        assert_eq!(three.after(&[pod(130)], &[]), Backoff::default());
        let mixed = three.after(&[pod(130)], &[pod(125), pod(131)]);
        assert_eq!(mixed, Backoff { failures: 1, last: Some(at(131)) });
        assert_eq!(Backoff::default().remaining(at(0)), Duration::ZERO);
    }
}
