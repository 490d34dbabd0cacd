//! When a Job has reached its end.

use std::time::Duration;

use jiff::SignedDuration;

use super::policy::{self, Verdict};
use super::{Work, facts};
use crate::pods;

impl Work<'_> {
    /// Finds out whether the Job heads for its end, apart from having completed.
    pub(crate) fn find_end(&mut self) {
        if let Some(met) = facts::condition(self.job, "SuccessCriteriaMet") {
            self.end = Some(met.clone());
        } else if let Some(target) = facts::condition(self.job, "FailureTarget") {
            let (reason, message) = (target.reason.clone(), target.message.clone());
            let condition =
                self.condition("Failed", &reason.unwrap_or_default(), &message.unwrap_or_default());
            self.end = Some(condition);
        } else if let Some(message) = self.failed_by_policy() {
            self.end = Some(self.condition("FailureTarget", "PodFailurePolicy", &message));
        } else {
            self.find_limit();
        }
        if self.end.is_none() && facts::is_indexed(self.spec) {
            self.find_indexed_end();
        }
    }

    fn failed_by_policy(&self) -> Option<String> {
        self.spec.pod_failure_policy.as_ref()?;
        let failed = self.snapshot.pods.iter().filter(|pod| facts::is_failed(self.spec, pod));
        failed.into_iter().find_map(|pod| match policy::judge(self.spec, pod) {
            Verdict::FailJob(message) => Some(message),
            _ => None,
        })
    }

    fn find_limit(&mut self) {
        let limit = self.spec.backoff_limit.unwrap_or(6);
        if self.failed > limit || self.restarted_too_often(limit) {
            self.end = Some(self.condition(
                "FailureTarget",
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit",
            ));
            return;
        }
        let Some(left) = self.until_deadline() else { return };
        if left.is_zero() {
            self.end = Some(self.condition(
                "FailureTarget",
                "DeadlineExceeded",
                "Job was active longer than specified deadline",
            ));
        } else {
            self.wake_after(left);
        }
    }

    /// Containers that are restarted in place count as failures too.
    fn restarted_too_often(&self, limit: i32) -> bool {
        let spec = self.spec.template.spec.as_ref();
        if spec.and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
            return false;
        }
        let running = self
            .snapshot
            .pods
            .iter()
            .filter(|pod| matches!(pods::phase(pod), "Running" | "Pending"));
        let statuses = running.filter_map(|pod| pod.status.as_ref()).flat_map(|status| {
            let regular = status.container_statuses.iter().flatten();
            regular.chain(status.init_container_statuses.iter().flatten())
        });
        let restarts: i32 = statuses.map(|status| status.restart_count).sum();
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    /// Time until the deadline; `None` when there is none.
    fn until_deadline(&self) -> Option<Duration> {
        let seconds = self.spec.active_deadline_seconds?;
        let start = self.status.start_time.as_ref()?.0;
        if facts::is_suspended(self.spec) {
            return None;
        }
        let deadline = start.checked_add(SignedDuration::from_secs(seconds)).ok()?;
        Some(Duration::try_from(deadline.duration_since(self.now)).unwrap_or_default())
    }

    fn find_indexed_end(&mut self) {
        let completions = self.spec.completions.unwrap_or(0);
        if let Some(failed) = &self.failed_indexes {
            let total = failed.total();
            let too_many = self.spec.max_failed_indexes.is_some_and(|most| total > most);
            if too_many {
                self.end = Some(self.condition(
                    "FailureTarget",
                    "MaxFailedIndexesExceeded",
                    "Job has exceeded the specified maximal number of failed indexes",
                ));
                return;
            }
            if total > 0 && total + self.succeeded_indexes.total() >= completions {
                let message = "Job has failed indexes";
                self.end = Some(self.condition("FailureTarget", "FailedIndexes", message));
                return;
            }
        }
        let policy = self.spec.success_policy.as_ref();
        let early = policy::succeeded_early(policy, completions, &self.succeeded_indexes);
        self.end =
            early.map(|message| self.condition("SuccessCriteriaMet", "SuccessPolicy", &message));
    }

    /// Whether everything is done and nothing runs any more.
    pub(crate) fn is_complete(&self) -> bool {
        let enough = match self.spec.completions {
            None => self.succeeded > 0,
            Some(completions) => self.succeeded >= completions,
        };
        enough && self.active_count == 0
    }
}
