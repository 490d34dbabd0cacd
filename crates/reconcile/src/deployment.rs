//! What a Deployment does with its ReplicaSets, and what it reports.
//!
//! [`decide`] works on drafts: copies of the ReplicaSets that the steps (revision, scaling, rollout,
//! clean-up) change one after the other. What differs in the end is the plan.

mod draft;
mod history;
mod rollback;
mod rollout;
pub mod scaling;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet};

use crate::labels;
use crate::note::Note;
use draft::Drafts;
use status::Conditions;

/// Annotation: revision of a template.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation: earlier revisions of the same template.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Annotation on a ReplicaSet: replicas its Deployment wanted when it was last scaled.
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// Annotation on a ReplicaSet: replicas its Deployment allowed when it was last scaled.
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Annotation that asks for a rollback; from `apps/v1beta1`, still heeded.
pub const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";

/// What is known when deciding.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// Its own ReplicaSets.
    pub replica_sets: &'a [Arc<ReplicaSet>],
    /// UIDs of those ReplicaSets that have pods which have not run to their end.
    pub running: &'a BTreeSet<String>,
}

/// A changed ReplicaSet.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Its new state.
    pub replica_set: ReplicaSet,
    /// Replicas before.
    pub from: i32,
    /// Replicas now.
    pub to: i32,
}

/// What to do, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The Deployment with an old template put back; excludes the steps below.
    pub rollback: Option<Box<Deployment>>,
    /// A ReplicaSet to make.
    pub create: Option<Box<ReplicaSet>>,
    /// ReplicaSets to change.
    pub update: Vec<Update>,
    /// Names of ReplicaSets to delete.
    pub delete: Vec<String>,
    /// New value of the Deployment's revision annotation.
    pub revision: Option<String>,
    /// New status.
    pub status: Option<DeploymentStatus>,
    /// Events.
    pub notes: Vec<Note>,
    /// When to look again, changes or not.
    pub again_after: Option<Duration>,
}

/// Decides what a Deployment needs now.
pub fn decide(snapshot: &Snapshot<'_>, now: Timestamp) -> Plan {
    let deployment = snapshot.deployment;
    let spec = &deployment.spec;
    if labels::is_everything(&spec.selector) {
        return selects_all(deployment);
    }
    let old = deployment.status.clone().unwrap_or_default();
    let mut work = Work {
        deployment,
        spec,
        conditions: Conditions::new(old.conditions.clone(), now),
        old,
        running: snapshot.running,
        drafts: Drafts::new(spec, snapshot.replica_sets),
        plan: Plan::default(),
        now,
    };
    work.run();
    work.finish()
}

fn selects_all(deployment: &Deployment) -> Plan {
    let mut plan = Plan::default();
    let message = "This deployment is selecting all pods. A non-empty selector is required.";
    plan.notes.push(Note::warning("SelectingAll", message));
    let mut status = deployment.status.clone().unwrap_or_default();
    if status.observed_generation.unwrap_or(0) < deployment.metadata.generation.unwrap_or(0) {
        status.observed_generation = deployment.metadata.generation;
        plan.status = Some(status);
    }
    plan
}

/// One decision in the making.
pub(crate) struct Work<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) spec: &'a DeploymentSpec,
    pub(crate) old: DeploymentStatus,
    pub(crate) conditions: Conditions,
    pub(crate) running: &'a BTreeSet<String>,
    pub(crate) drafts: Drafts,
    pub(crate) plan: Plan,
    pub(crate) now: Timestamp,
}

impl Work<'_> {
    fn run(&mut self) {
        let deleting = self.deployment.metadata.deletion_timestamp.is_some();
        if deleting {
            self.sync_revision(false);
            return self.report_plain();
        }
        self.note_pause();
        if self.is_paused() {
            self.sync_revision(false);
            self.scale_proportionally();
            if rollback::wanted(self.deployment).is_none() {
                self.clean_up();
            }
            return self.report_plain();
        }
        if rollback::wanted(self.deployment).is_some() {
            self.sync_revision(true);
            return self.roll_back();
        }
        self.sync_revision(false);
        if self.is_scaled() {
            self.scale_proportionally();
            return self.report_plain();
        }
        match self.strategy() {
            "Recreate" => self.recreate(),
            _ => self.roll(),
        }
        self.report_rollout();
    }

    fn finish(mut self) -> Plan {
        let (create, update) = self.drafts.changes();
        self.plan.create = create;
        self.plan.update = update;
        self.plan
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.spec.paused.unwrap_or(false)
    }

    /// Replicas wanted.
    pub(crate) fn replicas(&self) -> i32 {
        replicas(self.spec)
    }

    pub(crate) fn strategy(&self) -> &str {
        strategy(self.spec)
    }

    pub(crate) fn name(&self) -> &str {
        self.deployment.metadata.name.as_deref().unwrap_or_default()
    }
}

/// Replicas a Deployment wants.
pub(crate) fn replicas(spec: &DeploymentSpec) -> i32 {
    spec.replicas.unwrap_or(1)
}

fn strategy(spec: &DeploymentSpec) -> &str {
    let strategy = spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    strategy.unwrap_or("RollingUpdate")
}

/// The status that tells why the new ReplicaSet could not be made; `None` when nothing is to be told.
pub fn create_failed(
    deployment: &Deployment,
    message: &str,
    now: Timestamp,
) -> Option<DeploymentStatus> {
    deployment.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
    let mut status = deployment.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(status.conditions.take(), now);
    conditions.set("Progressing", "False", "ReplicaSetCreateError", message.to_owned());
    status.conditions = Some(conditions.into_all());
    (deployment.status.as_ref() != Some(&status)).then_some(status)
}
