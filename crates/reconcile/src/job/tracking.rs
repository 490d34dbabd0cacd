//! Counting finished pods so that none is lost or counted twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::policy::{self, Verdict};
use super::{Plan, Work, count, facts, new_condition};
use crate::note::Note;
use crate::pods;

/// UIDs that a status may list.
const UNCOUNTED_MAX: usize = 500;

/// The counting part of a round: write [`Tracking::status`] if it changed, remove the finalizers of
/// [`Tracking::release`], then [`Tracking::settle`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tracking {
    /// The status to write before any finalizer goes.
    pub status: JobStatus,
    /// Whether it differs from the Job's.
    pub changed: bool,
    /// Pods whose finalizer is to go.
    pub release: Vec<Arc<Pod>>,
    tracked: BTreeSet<String>,
    end: Option<JobCondition>,
    completions: Option<i32>,
}

impl Tracking {
    /// The status after the finalizers of `released` went; `None` when it is still the same. The events to
    /// write once it is written.
    pub fn settle(
        mut self,
        released: &BTreeSet<String>,
        now: Timestamp,
    ) -> (Option<JobStatus>, Vec<Note>) {
        let before = self.status.clone();
        self.tracked.retain(|uid| !released.contains(uid));
        clean(&mut self.status, &self.tracked);
        let notes = self.enact_end(now);
        ((before != self.status).then_some(self.status), notes)
    }

    fn enact_end(&mut self, now: Timestamp) -> Vec<Note> {
        let Some(end) = self.end.take() else { return Vec::new() };
        let listed = self.status.uncounted_terminated_pods.as_ref();
        let waits = listed.is_some_and(|listed| {
            !listed.succeeded.as_ref().is_none_or(Vec::is_empty)
                || !listed.failed.as_ref().is_none_or(Vec::is_empty)
        });
        if waits || self.status.terminating.unwrap_or(0) > 0 {
            return Vec::new();
        }
        let (reason, message) =
            (end.reason.clone().unwrap_or_default(), end.message.clone().unwrap_or_default());
        let condition = new_condition(&end.type_, "True", &reason, &message, now);
        let conditions = self.status.conditions.get_or_insert_default();
        conditions.retain(|have| have.type_ != end.type_);
        conditions.push(condition);
        if end.type_ != "Complete" {
            return vec![Note::warning(reason, message)];
        }
        self.status.completion_time = Some(Time(now));
        let succeeded = self.status.succeeded.unwrap_or(0);
        let mut notes = Vec::new();
        if self.completions.is_some_and(|completions| succeeded > completions) {
            let message = "Too many succeeded pods running after completion count reached";
            notes.push(Note::warning("TooManySucceededPods", message));
        }
        notes.push(Note::normal("Completed", "Job completed"));
        notes
    }
}

/// Turns listed UIDs into numbers where the finalizer is gone.
fn clean(status: &mut JobStatus, tracked: &BTreeSet<String>) {
    let Some(listed) = status.uncounted_terminated_pods.as_mut() else { return };
    for (uids, total) in
        [(&mut listed.succeeded, &mut status.succeeded), (&mut listed.failed, &mut status.failed)]
    {
        let Some(list) = uids.as_mut() else { continue };
        let before = list.len();
        list.retain(|uid| tracked.contains(uid));
        let gone = count(before - list.len());
        if gone > 0 {
            *total = Some(total.unwrap_or(0) + gone);
        }
        if list.is_empty() {
            *uids = None;
        }
    }
}

impl Work<'_> {
    pub(crate) fn finish(mut self) -> Plan {
        self.status.active = Some(self.active_count).filter(|count| *count != 0);
        self.status.ready = Some(self.ready);
        self.status.terminating = Some(self.terminating);
        let mut tracked = self.snapshot.pods.to_vec();
        tracked.retain(|pod| {
            facts::is_tracked(pod) && !self.snapshot.released.contains(pods::uid(&pod.metadata))
        });
        if facts::is_indexed(self.spec) {
            tracked.sort_by_key(|pod| facts::index(pod).unwrap_or(-1));
        }
        let uids = tracked.iter().map(|pod| pods::uid(&pod.metadata).to_owned()).collect();
        clean(&mut self.status, &uids);
        let (release, full) = self.list_finished(&tracked);
        if facts::is_indexed(self.spec) {
            self.write_indexes();
        }
        let end = self.state_end().filter(|_| !full);
        let changed = self.job.status.as_ref() != Some(&self.status);
        let mut plan = self.plan;
        plan.tracking = Some(Tracking {
            status: self.status,
            changed,
            release,
            tracked: uids,
            end,
            completions: self.spec.completions,
        });
        plan
    }

    /// Lists the UIDs of finished pods in the status; the pods whose finalizer may go, and whether there
    /// are more than one status may list.
    fn list_finished(&mut self, tracked: &[Arc<Pod>]) -> (Vec<Arc<Pod>>, bool) {
        let delayed = self.delayed();
        let listed = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let (mut succeeded, mut failed) =
            (listed.succeeded.unwrap_or_default(), listed.failed.unwrap_or_default());
        let mut done: Vec<i32> = Vec::new();
        let (mut release, mut full) = (Vec::new(), false);
        for pod in tracked {
            let uid = pods::uid(&pod.metadata).to_owned();
            let is_failed = facts::is_failed(self.spec, pod);
            if !self.may_release(pod, is_failed, &delayed) {
                continue;
            }
            release.push(Arc::clone(pod));
            let index = facts::valid_index(self.spec, pod);
            let indexed = facts::is_indexed(self.spec);
            if pods::phase(pod) == "Succeeded" && !failed.contains(&uid) {
                match index {
                    Some(index) if indexed => {
                        if !self.succeeded_before.has(index) {
                            done.push(index);
                        }
                    }
                    _ if indexed || succeeded.contains(&uid) => {}
                    _ => succeeded.push(uid),
                }
            } else if (is_failed || self.ends_badly())
                && !failed.contains(&uid)
                && (!indexed || index.is_some())
                && policy::judge(self.spec, pod) != Verdict::Ignore
            {
                failed.push(uid);
            }
            if done.len() + succeeded.len() + failed.len() >= UNCOUNTED_MAX {
                full = true;
                break;
            }
        }
        self.succeeded_indexes = self.succeeded_indexes.with(done);
        let list = |uids: Vec<String>| (!uids.is_empty()).then_some(uids);
        let listed = self.status.uncounted_terminated_pods.get_or_insert_default();
        (listed.succeeded, listed.failed) = (list(succeeded), list(failed));
        (release, full)
    }

    fn ends_badly(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.type_ != "SuccessCriteriaMet")
    }

    fn may_release(
        &self,
        pod: &Pod,
        is_failed: bool,
        delayed: &std::collections::BTreeMap<i32, Arc<Pod>>,
    ) -> bool {
        let ends = self.job.metadata.deletion_timestamp.is_some() || self.end.is_some();
        if ends || pods::phase(pod) == "Succeeded" {
            return true;
        }
        let kept = facts::index(pod).and_then(|index| delayed.get(&index));
        is_failed && kept.is_none_or(|kept| kept.metadata.uid != pod.metadata.uid)
    }

    fn write_indexes(&mut self) {
        let text = |text: String| (!text.is_empty()).then_some(text);
        let total = self.succeeded_indexes.total();
        self.status.succeeded = (total != 0).then_some(total);
        self.status.completed_indexes = text(self.succeeded_indexes.to_string());
        self.status.failed_indexes = self.failed_indexes.as_ref().map(ToString::to_string);
    }

    /// Writes the end that the Job is heading for, and returns the end itself.
    fn state_end(&mut self) -> Option<JobCondition> {
        let end = self.end.take()?;
        let (reason, message) =
            (end.reason.clone().unwrap_or_default(), end.message.clone().unwrap_or_default());
        let last = match end.type_.as_str() {
            "FailureTarget" => "Failed",
            "SuccessCriteriaMet" => "Complete",
            _ => return Some(end),
        };
        let conditions = self.status.conditions.get_or_insert_default();
        if !conditions.iter().any(|have| have.type_ == end.type_) {
            conditions.push(end);
        }
        Some(new_condition(last, "True", &reason, &message, self.now))
    }
}
