//! Making and deleting a Job's pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::JobCondition;
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

use super::backoff::{Backoff, finished};
use super::facts::{FAILURES, IGNORED_FAILURES, INDEX, TRACKING};
use super::policy::{self, Verdict};
use super::{BURST, Work, count, facts, new_condition};
use crate::note::Note;
use crate::{pods, template};

const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// Longest prefix of a generated name.
const PREFIX_CHARACTERS_MAX: usize = 58;

impl Work<'_> {
    /// Plans pods to make and delete, and notes suspension.
    pub(crate) fn act(&mut self) {
        if self.end.is_some() {
            self.delete(self.active.clone());
            if !self.snapshot.settled {
                self.end = None;
            }
            return;
        }
        let managed = self.snapshot.settled && self.job.metadata.deletion_timestamp.is_none();
        if managed {
            self.manage();
        }
        if self.is_complete() {
            let message = "Reached expected number of succeeded pods";
            self.end = Some(self.condition("SuccessCriteriaMet", "CompletionsReached", message));
        } else if managed {
            self.note_suspension();
        }
    }

    fn delete(&mut self, doomed: Vec<Arc<Pod>>) {
        let number = count(doomed.len());
        self.active_count -= number;
        self.terminating += number;
        self.ready -= count(doomed.iter().filter(|pod| pods::is_ready(pod)).count());
        self.plan.delete = doomed;
    }

    fn wanted(&self) -> i32 {
        let parallelism = self.spec.parallelism.unwrap_or(1);
        match self.spec.completions {
            None if self.succeeded > 0 => self.active_count,
            None => parallelism,
            Some(completions) => (completions - self.succeeded).min(parallelism).max(0),
        }
    }

    fn manage(&mut self) {
        if facts::is_suspended(self.spec) {
            let all = self.doomed(self.active.len());
            return self.delete(all);
        }
        let wanted = self.wanted();
        let surplus = usize::try_from(self.active_count - wanted).unwrap_or(0);
        let mut doomed = self.doomed(surplus);
        if !doomed.is_empty() {
            doomed.truncate(BURST);
            return self.delete(doomed);
        }
        let waiting = if facts::replaces_failed_only(self.spec) { self.terminating } else { 0 };
        let missing = usize::try_from(wanted - waiting - self.active_count).unwrap_or(0);
        if missing == 0 {
            return;
        }
        if self.spec.backoff_limit_per_index.is_none() {
            let pause = self.plan.backoff.remaining(self.now);
            if !pause.is_zero() {
                return self.wake_after(pause);
            }
        }
        self.create(missing.min(BURST));
    }

    /// At least `number` pods to delete: those that double an index, then the least useful.
    fn doomed(&self, number: usize) -> Vec<Arc<Pod>> {
        let mut left = self.active.clone();
        let usefulness = |pod: &Arc<Pod>| {
            let running = pods::phase(pod) == "Running";
            let since = pods::ready_since(pod).or_else(|| pods::created(&pod.metadata));
            (!pods::node(pod).is_empty(), running, pods::is_ready(pod), std::cmp::Reverse(since))
        };
        left.sort_by_key(usefulness);
        let mut doomed = Vec::new();
        if facts::is_indexed(self.spec) {
            let mut kept: BTreeSet<i32> = BTreeSet::new();
            // The most useful pod of an index stays.
            for pod in std::mem::take(&mut left).into_iter().rev() {
                match facts::valid_index(self.spec, &pod) {
                    Some(index) if kept.insert(index) => left.push(pod),
                    _ => doomed.push(pod),
                }
            }
            left.reverse();
        }
        let more = number.saturating_sub(doomed.len());
        doomed.extend(left.into_iter().take(more));
        doomed
    }

    fn create(&mut self, number: usize) {
        let owner = OwnerReference {
            api_version: "batch/v1".to_owned(),
            kind: "Job".to_owned(),
            name: self.job.metadata.name.clone().unwrap_or_default(),
            uid: pods::uid(&self.job.metadata).to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        let mut pod_template = self.spec.template.clone();
        let finalizers =
            pod_template.metadata.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == TRACKING) {
            finalizers.push(TRACKING.to_owned());
        }
        let namespace = self.job.metadata.namespace.clone().unwrap_or_default();
        let make =
            |pod_template: &PodTemplateSpec| template::pod(pod_template, &namespace, owner.clone());
        let made: Vec<Pod> = if facts::is_indexed(self.spec) {
            let delayed = self.delayed();
            let indexes = self.indexes_to_start(number, &delayed);
            add_index_variable(&mut pod_template);
            let pod = make(&pod_template);
            indexes.iter().map(|index| self.indexed(&pod, *index, delayed.get(index))).collect()
        } else {
            vec![make(&pod_template); number]
        };
        self.active_count += count(made.len());
        self.plan.create = made;
    }

    /// The last failed pod of each index that is neither done nor running: it is kept until its
    /// successor exists, which takes over its number of failures.
    pub(crate) fn delayed(&self) -> BTreeMap<i32, Arc<Pod>> {
        let mut delayed: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
        if self.spec.backoff_limit_per_index.is_none() {
            return delayed;
        }
        let running: BTreeSet<i32> =
            self.active.iter().filter_map(|pod| facts::index(pod)).collect();
        let failures = |pod: &Pod| {
            let (counted, ignored) = facts::index_failures(pod);
            (counted + ignored, finished(pod))
        };
        for pod in self.uncounted(&[], |pod| facts::is_failed(self.spec, pod)) {
            let Some(index) = facts::valid_index(self.spec, &pod) else { continue };
            let failed = self.failed_indexes.as_ref().is_some_and(|failed| failed.has(index));
            if failed || running.contains(&index) || self.succeeded_indexes.has(index) {
                continue;
            }
            if delayed.get(&index).is_none_or(|have| failures(have) <= failures(&pod)) {
                delayed.insert(index, pod);
            }
        }
        delayed
    }

    fn indexes_to_start(&mut self, number: usize, delayed: &BTreeMap<i32, Arc<Pod>>) -> Vec<i32> {
        let completions = self.spec.completions.unwrap_or(0);
        let mut taken =
            self.succeeded_indexes.with(self.active.iter().filter_map(|pod| facts::index(pod)));
        if facts::replaces_failed_only(self.spec) {
            let going = self.snapshot.pods.iter();
            let going = going.filter(|pod| pods::is_deleting(pod) && !pods::is_terminal(pod));
            taken = taken.with(going.filter_map(|pod| facts::index(pod)));
        }
        if let Some(failed) = &self.failed_indexes {
            taken = taken.union(failed);
        }
        let mut soonest: Option<Duration> = None;
        let mut ready = taken.gaps(number, completions);
        ready.retain(|index| {
            let Some(pod) = delayed.get(index) else { return true };
            let (counted, ignored) = facts::index_failures(pod);
            let failures = u32::try_from(counted + ignored + 1).unwrap_or(1);
            let pause = Backoff { failures, last: Some(finished(pod)) }.remaining(self.now);
            if !pause.is_zero() {
                soonest = Some(soonest.map_or(pause, |soonest| soonest.min(pause)));
            }
            pause.is_zero()
        });
        if let Some(pause) = soonest {
            self.wake_after(pause);
        }
        ready
    }

    fn indexed(&self, pod: &Pod, index: i32, replaced: Option<&Arc<Pod>>) -> Pod {
        let mut pod = pod.clone();
        let name = self.job.metadata.name.as_deref().unwrap_or_default();
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(INDEX.to_owned(), index.to_string());
        if self.spec.backoff_limit_per_index.is_some() {
            let (mut counted, mut ignored) =
                replaced.map_or((0, 0), |pod| facts::index_failures(pod));
            if let Some(replaced) = replaced {
                match policy::judge(self.spec, replaced) {
                    Verdict::Ignore => ignored += 1,
                    _ => counted += 1,
                }
            }
            annotations.insert(FAILURES.to_owned(), counted.to_string());
            if ignored > 0 {
                annotations.insert(IGNORED_FAILURES.to_owned(), ignored.to_string());
            }
        }
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert(INDEX.to_owned(), index.to_string());
        let suffix = format!("-{index}-");
        let length = PREFIX_CHARACTERS_MAX.saturating_sub(suffix.len()).min(name.len());
        pod.metadata.generate_name = Some(format!("{}{suffix}", &name[..length]));
        pod.spec.get_or_insert_default().hostname = Some(format!("{name}-{index}"));
        pod
    }

    fn note_suspension(&mut self) {
        let suspended = facts::is_suspended(self.spec);
        let (status, reason, message, event) = if suspended {
            ("True", "JobSuspended", "Job suspended", "Suspended")
        } else {
            ("False", "JobResumed", "Job resumed", "Resumed")
        };
        let conditions = self.status.conditions.get_or_insert_default();
        let fresh: JobCondition = new_condition("Suspended", status, reason, message, self.now);
        match conditions.iter_mut().find(|condition| condition.type_ == "Suspended") {
            Some(have) if have.status == status => return,
            Some(have) => *have = fresh,
            None if suspended => conditions.push(fresh),
            None => {
                if conditions.is_empty() {
                    self.status.conditions = None;
                }
                return;
            }
        }
        if !suspended {
            self.status.start_time = Some(Time(self.now));
        }
        self.plan.notes.push(Note::normal(event, message));
    }
}

/// Tells the containers their index.
fn add_index_variable(pod_template: &mut PodTemplateSpec) {
    let spec = pod_template.spec.get_or_insert_default();
    let all = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
    all.for_each(add_variable);
}

fn add_variable(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    variables.push(EnvVar {
        name: INDEX_VARIABLE.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: format!("metadata.labels['{INDEX}']"),
            }),
            ..EnvVarSource::default()
        }),
    });
}
