//! What a StatefulSet reports.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSetStatus;

use super::{Work, version_of};
use crate::pods;

fn said(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

impl Work<'_> {
    /// The counts, and when they will change by time alone.
    pub(super) fn count(&self) -> (StatefulSetStatus, Option<Duration>) {
        let (mut ready, mut available, mut current, mut updated) = (0, 0, 0, 0);
        let mut next: Option<Duration> = None;
        let all = || self.replicas.iter().flatten().chain(&self.condemned);
        for pod in all() {
            if !pods::is_deleting(pod) {
                current += i32::from(version_of(pod) == self.snapshot.current.revision);
                updated += i32::from(version_of(pod) == self.snapshot.update.revision);
            }
            let seconds = self.set.spec.min_ready_seconds.unwrap_or(0);
            let runs = pods::phase(pod) == "Running";
            let wait = pods::available_in(pod, seconds, self.now).filter(|_| runs);
            let Some(wait) = wait else { continue };
            ready += 1;
            if wait.is_zero() {
                available += 1;
            } else {
                next = Some(next.map_or(wait, |next| next.min(wait)));
            }
        }
        let status = StatefulSetStatus {
            observed_generation: self.set.metadata.generation,
            replicas: i32::try_from(all().count()).unwrap_or(i32::MAX),
            ready_replicas: said(ready),
            // Always present upstream, zero or not.
            available_replicas: Some(available),
            current_replicas: said(current),
            updated_replicas: said(updated),
            current_revision: Some(self.snapshot.current.revision.clone()),
            update_revision: Some(self.snapshot.update.revision.clone()),
            collision_count: Some(self.snapshot.collisions),
            conditions: self.set.status.as_ref().and_then(|status| status.conditions.clone()),
        };
        (status, next)
    }

    /// When every pod is of the new version and ready, it is the current one.
    pub(super) fn complete_rollout(&self, status: &mut StatefulSetStatus) {
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolls = strategy.and_then(|s| s.type_.as_deref()) != Some("OnDelete");
        let wanted = self.set.spec.replicas.unwrap_or(1);
        let or_zero = |count: Option<i32>| count.unwrap_or(0);
        if rolls
            && or_zero(status.updated_replicas) == wanted
            && status.replicas == wanted
            && or_zero(status.ready_replicas) == wanted
        {
            status.current_replicas = status.updated_replicas;
            status.current_revision = status.update_revision.clone();
        }
    }
}
