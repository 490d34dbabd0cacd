//! Which pods a Job makes and deletes, what it counts, and when it has ended.
//!
//! Every pod carries a finalizer until it is counted: first the pod's UID is written to the status, then
//! the finalizer goes, then the UID becomes a number. Nothing is lost or counted twice, whenever the
//! controller dies. [`decide`] plans one round; [`Tracking::settle`] is its last step, after the
//! finalizers.

pub mod backoff;
pub mod facts;
mod finish;
pub mod indexes;
mod manage;
pub mod policy;
#[cfg(test)]
mod tests;
mod tracking;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::note::Note;
use crate::pods;
use backoff::Backoff;
use indexes::Indexes;
pub use tracking::Tracking;

/// Pods made or deleted in one round.
pub const BURST: usize = 500;

/// What is known when deciding.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The Job.
    pub job: &'a Job,
    /// Its pods, whatever their state.
    pub pods: &'a [Arc<Pod>],
    /// Whether all pods made and deleted earlier were seen since.
    pub settled: bool,
    /// UIDs of pods whose finalizer was removed, which is not seen yet.
    pub released: &'a BTreeSet<String>,
    /// Failures so far.
    pub backoff: Backoff,
}

/// What to do, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Pods to delete.
    pub delete: Vec<Arc<Pod>>,
    /// Pods to make.
    pub create: Vec<Pod>,
    /// What to count; `None` when nothing at all is to be done.
    pub tracking: Option<Tracking>,
    /// The failures to remember once the status is written.
    pub backoff: Backoff,
    /// Events.
    pub notes: Vec<Note>,
    /// When to look again, changes or not.
    pub again_after: Option<Duration>,
}

/// Decides one round.
pub fn decide(snapshot: &Snapshot<'_>, now: Timestamp) -> Plan {
    let job = snapshot.job;
    let Some(spec) = job.spec.as_ref() else { return Plan::default() };
    if facts::is_finished(job) || facts::is_managed_elsewhere(job) {
        return Plan::default();
    }
    let mut work = Work::new(snapshot, spec, now);
    work.find_end();
    work.act();
    work.finish()
}

/// One decision in the making.
pub(crate) struct Work<'a> {
    pub(crate) job: &'a Job,
    pub(crate) spec: &'a JobSpec,
    pub(crate) snapshot: &'a Snapshot<'a>,
    pub(crate) status: JobStatus,
    pub(crate) active: Vec<Arc<Pod>>,
    pub(crate) active_count: i32,
    pub(crate) ready: i32,
    pub(crate) terminating: i32,
    pub(crate) succeeded: i32,
    pub(crate) failed: i32,
    pub(crate) succeeded_before: Indexes,
    pub(crate) succeeded_indexes: Indexes,
    pub(crate) failed_indexes: Option<Indexes>,
    /// The end that the Job is heading for: `SuccessCriteriaMet`, `FailureTarget`, or already `Failed`.
    pub(crate) end: Option<JobCondition>,
    pub(crate) plan: Plan,
    pub(crate) now: Timestamp,
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl<'a> Work<'a> {
    fn new(snapshot: &'a Snapshot<'a>, spec: &'a JobSpec, now: Timestamp) -> Self {
        let job = snapshot.job;
        let mut status = job.status.clone().unwrap_or_default();
        status.uncounted_terminated_pods.get_or_insert_default();
        if status.start_time.is_none() && !facts::is_suspended(spec) {
            status.start_time = Some(Time(now));
        }
        let active: Vec<_> =
            snapshot.pods.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
        let going = |pod: &&Arc<Pod>| pods::is_deleting(pod) && !pods::is_terminal(pod);
        let mut work = Self {
            job,
            spec,
            snapshot,
            active_count: count(active.len()),
            ready: count(active.iter().filter(|pod| pods::is_ready(pod)).count()),
            terminating: count(snapshot.pods.iter().filter(going).count()),
            active,
            succeeded: 0,
            failed: 0,
            succeeded_before: Indexes::default(),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            end: None,
            plan: Plan::default(),
            status,
            now,
        };
        work.count_finished();
        work
    }

    /// Tracked pods that are not counted yet, by what `wanted` says of them.
    fn uncounted(&self, counted: &[String], wanted: impl Fn(&Pod) -> bool) -> Vec<Arc<Pod>> {
        let fits = |pod: &&Arc<Pod>| {
            facts::is_tracked(pod)
                && !counted.iter().any(|uid| uid == pods::uid(&pod.metadata))
                && !self.snapshot.released.contains(pods::uid(&pod.metadata))
                && (!facts::is_indexed(self.spec) || facts::valid_index(self.spec, pod).is_some())
                && wanted(pod)
        };
        self.snapshot.pods.iter().filter(fits).cloned().collect()
    }

    fn count_finished(&mut self) {
        let listed = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let (done, lost) =
            (listed.succeeded.unwrap_or_default(), listed.failed.unwrap_or_default());
        let succeeded = self.uncounted(&done, |pod| pods::phase(pod) == "Succeeded");
        let failed = self.uncounted(&lost, |pod| facts::is_failed(self.spec, pod));
        let counts = |pod: &&Arc<Pod>| policy::judge(self.spec, pod) != policy::Verdict::Ignore;
        let newly_failed = count(failed.iter().filter(counts).count());
        self.succeeded =
            self.status.succeeded.unwrap_or(0) + count(succeeded.len()) + count(done.len());
        self.failed = self.status.failed.unwrap_or(0) + newly_failed + count(lost.len());
        self.plan.backoff = self.snapshot.backoff.after(&succeeded, &failed);
        if facts::is_indexed(self.spec) {
            self.count_indexes();
        }
    }

    fn count_indexes(&mut self) {
        let completions = self.spec.completions.unwrap_or(0);
        let text = |text: Option<&String>| Indexes::parse(text.map_or("", |t| t), completions);
        let tracked = || self.snapshot.pods.iter().filter(|pod| facts::is_tracked(pod));
        let index = |pod: &Arc<Pod>| facts::valid_index(self.spec, pod);
        let done = tracked().filter(|pod| pods::phase(pod) == "Succeeded").filter_map(index);
        let before = text(self.status.completed_indexes.as_ref());
        let succeeded = before.with(done);
        let failed = self.spec.backoff_limit_per_index.map(|limit| {
            let lost = tracked().filter(|pod| self.has_failed_index(pod, limit)).filter_map(index);
            text(self.status.failed_indexes.as_ref()).with(lost)
        });
        self.succeeded = succeeded.total();
        (self.succeeded_before, self.succeeded_indexes) = (before, succeeded);
        self.failed_indexes = failed;
    }

    fn has_failed_index(&self, pod: &Pod, limit: i32) -> bool {
        if !facts::is_failed(self.spec, pod) {
            return false;
        }
        match policy::judge(self.spec, pod) {
            policy::Verdict::FailIndex => true,
            policy::Verdict::Ignore => false,
            _ => facts::index_failures(pod).0 >= limit,
        }
    }

    /// Adds a wake-up; the earliest counts.
    fn wake_after(&mut self, pause: Duration) {
        let earliest = self.plan.again_after.map_or(pause, |have| have.min(pause));
        self.plan.again_after = Some(earliest);
    }

    pub(crate) fn condition(&self, kind: &str, reason: &str, message: &str) -> JobCondition {
        new_condition(kind, "True", reason, message, self.now)
    }
}

pub(crate) fn new_condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> JobCondition {
    JobCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}
