//! How long a container has to end.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::actions::KillReason;
use crate::limits::{GRACE_DEFAULT_S, GRACE_MIN_S};
use crate::pod;

/// The grace period of the pod in seconds: the deletion's, else the spec's.
pub fn of_pod(pod: &Pod) -> i64 {
    let deletion = pod.metadata.deletion_timestamp.as_ref();
    let deleting = deletion.and(pod.metadata.deletion_grace_period_seconds);
    let own = pod::spec(pod).termination_grace_period_seconds;
    deleting.or(own).unwrap_or(GRACE_DEFAULT_S).max(0)
}

/// The grace period of one container that is stopped for `reason`, in seconds.
pub fn of_container(pod: &Pod, container: &Container, reason: KillReason) -> i64 {
    let probe = match reason {
        KillReason::LivenessProbe => container.liveness_probe.as_ref(),
        KillReason::StartupProbe => container.startup_probe.as_ref(),
        KillReason::Changed | KillReason::Unknown => None,
    };
    let of_probe = probe.and_then(|probe| probe.termination_grace_period_seconds);
    let own = pod::spec(pod).termination_grace_period_seconds;
    of_probe.or(own).unwrap_or(GRACE_DEFAULT_S).max(0)
}

/// What is left for the signal after a pre-stop hook took `spent`.
pub fn after_hook(grace_s: i64, spent: Duration) -> i64 {
    let spent = i64::try_from(spent.as_secs()).unwrap_or(i64::MAX);
    grace_s.saturating_sub(spent).max(GRACE_MIN_S)
}

/// When a pod that runs since `started` has run long enough.
pub fn active_deadline(pod: &Pod, started: Timestamp) -> Option<Timestamp> {
    let seconds = pod::spec(pod).active_deadline_seconds?;
    started.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_deletion_and_the_probe_come_first() {
        let mut pod =
            crate::testing::pod(json!({"terminationGracePeriodSeconds": 7, "containers": [
            {"name": "a", "livenessProbe": {"terminationGracePeriodSeconds": 3}}]}));
        assert_eq!(of_pod(&pod), 7);
        let container = pod::spec(&pod).containers[0].clone();
        assert_eq!(of_container(&pod, &container, KillReason::LivenessProbe), 3);
        assert_eq!(of_container(&pod, &container, KillReason::StartupProbe), 7);
        pod.metadata.deletion_grace_period_seconds = Some(1);
        assert_eq!(of_pod(&pod), 7, "without a deletion its grace does not count");
        pod.metadata.deletion_timestamp = Some(crate::status::seconds(Timestamp::UNIX_EPOCH));
        assert_eq!(of_pod(&pod), 1);
        assert_eq!(after_hook(30, Duration::from_secs(10)), 20);
        assert_eq!(after_hook(30, Duration::from_secs(100)), 2);
    }
}
