//! What a Deployment reports: counts, and the conditions `Available`, `Progressing`, `ReplicaFailure`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSetCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Work;
use super::draft::Draft;

const FAILURE: &str = "ReplicaFailure";
const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// Conditions that keep their times while nothing changes.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    all: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    pub(crate) fn new(all: Option<Vec<DeploymentCondition>>, now: Timestamp) -> Self {
        Self { all: all.unwrap_or_default(), now }
    }

    pub(crate) fn into_all(self) -> Vec<DeploymentCondition> {
        self.all
    }

    pub(crate) fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.all.iter().find(|condition| condition.type_.as_deref() == Some(kind))
    }

    pub(crate) fn reason(&self, kind: &str) -> &str {
        self.get(kind).and_then(|condition| condition.reason.as_deref()).unwrap_or_default()
    }

    pub(crate) fn set(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        self.put(DeploymentCondition {
            type_: Some(kind.to_owned()),
            status: Some(status.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_update_time: Some(Time(self.now)),
            last_transition_time: Some(Time(self.now)),
        });
    }

    fn put(&mut self, mut condition: DeploymentCondition) {
        let kind = condition.type_.clone().unwrap_or_default();
        if let Some(old) = self.get(&kind).filter(|old| old.status == condition.status) {
            if old.reason == condition.reason {
                return;
            }
            condition.last_transition_time.clone_from(&old.last_transition_time);
        }
        self.remove(&kind);
        self.all.push(condition);
    }

    /// Sets a condition anew even when its reason stays, so that its update time moves.
    fn renew(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let old = self.get(kind).filter(|old| old.status.as_deref() == Some(status));
        let since = old.and_then(|old| old.last_transition_time.clone());
        self.remove(kind);
        self.set(kind, status, reason, message);
        if let (Some(since), Some(condition)) = (since, self.all.last_mut()) {
            condition.last_transition_time = Some(since);
        }
    }

    fn remove(&mut self, kind: &str) {
        self.all.retain(|condition| condition.type_.as_deref() != Some(kind));
    }
}

impl Work<'_> {
    /// Whether the Deployment's progress is watched.
    pub(crate) fn has_deadline(&self) -> bool {
        self.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX)
    }

    /// Says when a Deployment is paused or resumed.
    pub(crate) fn note_pause(&mut self) {
        if !self.has_deadline() || self.conditions.reason(PROGRESSING) == TIMED_OUT {
            return;
        }
        let said = self.conditions.reason(PROGRESSING) == "DeploymentPaused";
        let mut set = |reason: &str, message: &str| {
            self.conditions.set(PROGRESSING, "Unknown", reason, message.to_owned());
        };
        match (self.spec.paused.unwrap_or(false), said) {
            (true, false) => set("DeploymentPaused", "Deployment is paused"),
            (false, true) => set("DeploymentResumed", "Deployment is resumed"),
            _ => {}
        }
    }

    /// Whether every pod is new, available and counted.
    pub(crate) fn is_complete(&self, status: &DeploymentStatus) -> bool {
        let wanted = Some(self.replicas());
        let or_zero = |count: Option<i32>| Some(count.unwrap_or(0));
        or_zero(status.updated_replicas) == wanted
            && or_zero(status.replicas) == wanted
            && or_zero(status.available_replicas) == wanted
            && status.observed_generation.unwrap_or(0)
                >= self.deployment.metadata.generation.unwrap_or(0)
    }

    /// Reports counts and availability.
    pub(crate) fn report_plain(&mut self) {
        let status = self.counted();
        self.put_status(status);
    }

    /// Reports counts, availability and how the rollout goes.
    pub(crate) fn report_rollout(&mut self) {
        let mut status = self.counted();
        let was_available = self.conditions.reason(PROGRESSING) == AVAILABLE;
        let all_new = status.replicas.unwrap_or(0) == status.updated_replicas.unwrap_or(0);
        if !self.has_deadline() {
            self.conditions.remove(PROGRESSING);
        } else if !(all_new && was_available) {
            self.judge_progress(&status);
        }
        match self.replica_failure() {
            Some(failure) => self.conditions.put(failure),
            None => self.conditions.remove(FAILURE),
        }
        status.conditions = Some(self.conditions.all.clone());
        if !self.put_status(status.clone()) {
            self.plan.again_after = self.deadline_in(&status);
        }
    }

    fn judge_progress(&mut self, status: &DeploymentStatus) {
        let subject = match &self.drafts.new {
            Some(new) => format!("ReplicaSet \"{}\"", new.name()),
            None => format!("Deployment \"{}\"", self.name()),
        };
        if self.is_complete(status) {
            let message = format!("{subject} has successfully progressed.");
            self.conditions.set(PROGRESSING, "True", AVAILABLE, message);
        } else if has_progressed(&self.old, status) {
            let message = format!("{subject} is progressing.");
            self.conditions.renew(PROGRESSING, "True", "ReplicaSetUpdated", message);
        } else if self.is_timed_out() {
            let message = format!("{subject} has timed out progressing.");
            self.conditions.set(PROGRESSING, "False", TIMED_OUT, message);
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let condition = self.conditions.get(PROGRESSING)?;
        let seconds = self.spec.progress_deadline_seconds?;
        let since = condition.last_update_time.as_ref()?.0;
        Some(since + SignedDuration::from_secs(i64::from(seconds)))
    }

    fn is_timed_out(&self) -> bool {
        match self.conditions.reason(PROGRESSING) {
            AVAILABLE => false,
            TIMED_OUT => true,
            _ => self.deadline().is_some_and(|deadline| deadline < self.now),
        }
    }

    /// When to look whether the deadline has passed.
    fn deadline_in(&self, status: &DeploymentStatus) -> Option<Duration> {
        let over = self.conditions.reason(PROGRESSING) == TIMED_OUT || self.is_complete(status);
        if over || !self.has_deadline() {
            return None;
        }
        let left = self.deadline()?.duration_since(self.now);
        Some(Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1))
    }

    fn counted(&mut self) -> DeploymentStatus {
        let available = self.drafts.available();
        if available >= self.replicas() - self.max_unavailable() {
            let message = "Deployment has minimum availability.".to_owned();
            self.conditions.set("Available", "True", "MinimumReplicasAvailable", message);
        } else {
            let message = "Deployment does not have minimum availability.".to_owned();
            self.conditions.set("Available", "False", "MinimumReplicasUnavailable", message);
        }
        let sum = |count: fn(&Draft) -> i32| self.drafts.all().map(count).sum::<i32>();
        let said = |count: i32| (count != 0).then_some(count);
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: said(sum(Draft::actual)),
            updated_replicas: said(self.drafts.new.as_ref().map_or(0, Draft::actual)),
            ready_replicas: said(sum(Draft::ready)),
            available_replicas: said(available),
            unavailable_replicas: said((self.drafts.replicas() - available).max(0)),
            terminating_replicas: Some(sum(Draft::terminating)),
            collision_count: self.old.collision_count,
            conditions: Some(self.conditions.all.clone()),
        }
    }

    /// Plans to write a status; `false` when it is as it was.
    fn put_status(&mut self, status: DeploymentStatus) -> bool {
        let changed = self.old != status;
        self.plan.status = changed.then_some(status);
        changed
    }

    fn replica_failure(&self) -> Option<DeploymentCondition> {
        let failure = |draft: &Draft| -> Option<DeploymentCondition> {
            let conditions = draft.set.status.as_ref()?.conditions.as_ref()?;
            let found =
                conditions.iter().find(|condition| condition.type_.as_deref() == Some(FAILURE));
            found.map(translate)
        };
        let new = self.drafts.new.iter();
        new.chain(&self.drafts.old).find_map(failure)
    }
}

fn translate(condition: &ReplicaSetCondition) -> DeploymentCondition {
    DeploymentCondition {
        type_: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_time: condition.last_transition_time.clone(),
        last_update_time: condition.last_transition_time.clone(),
    }
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or(0);
    let outdated =
        |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || outdated(new) < outdated(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}
