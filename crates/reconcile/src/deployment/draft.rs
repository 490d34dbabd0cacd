//! Copies of a Deployment's ReplicaSets that a decision may change.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DeploymentSpec, ReplicaSet};

use super::{DESIRED_REPLICAS, MAX_REPLICAS, REVISION, Update};
use crate::{pods, template};

/// One ReplicaSet.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) set: ReplicaSet,
    original: Option<Arc<ReplicaSet>>,
}

impl Draft {
    pub(crate) fn replicas(&self) -> i32 {
        self.set.spec.replicas.unwrap_or(1)
    }

    pub(crate) fn name(&self) -> &str {
        self.set.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn is_active(&self) -> bool {
        self.replicas() > 0
    }

    /// Pods it has, ready pods, available pods, as last reported.
    pub(crate) fn actual(&self) -> i32 {
        self.set.status.as_ref().map_or(0, |status| status.replicas)
    }

    pub(crate) fn ready(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
    }

    pub(crate) fn available(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
    }

    pub(crate) fn terminating(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0)
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.set.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    pub(crate) fn annotate(&mut self, key: &str, value: String) {
        self.set.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value);
    }

    /// A count kept in an annotation; `None` when it is absent or spoilt.
    pub(crate) fn count(&self, key: &str) -> Option<i32> {
        self.annotation(key)?.parse().ok().filter(|count| *count >= 0)
    }

    /// The template's revision: 0 when it has none, `None` when it is spoilt.
    pub(crate) fn revision(&self) -> Option<i64> {
        self.annotation(REVISION).map_or(Some(0), |text| text.parse().ok())
    }

    pub(crate) fn set_replicas(&mut self, replicas: i32) {
        self.set.spec.replicas = Some(replicas);
    }

    /// Scales, and notes what the Deployment wanted at that time.
    pub(crate) fn scale(&mut self, replicas: i32, desired: i32, most: i32) {
        let noted =
            self.count(DESIRED_REPLICAS) == Some(desired) && self.count(MAX_REPLICAS) == Some(most);
        if self.replicas() == replicas && noted {
            return;
        }
        self.set_replicas(replicas);
        self.annotate(DESIRED_REPLICAS, desired.to_string());
        self.annotate(MAX_REPLICAS, most.to_string());
    }

    fn age_key(&self) -> (Option<jiff::Timestamp>, String) {
        (pods::created(&self.set.metadata), self.name().to_owned())
    }

    fn is_changed(&self) -> bool {
        self.original.as_ref().is_none_or(|original| **original != self.set)
    }
}

/// All ReplicaSets of a Deployment: the one of its present template and the others, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Drafts {
    pub(crate) new: Option<Draft>,
    pub(crate) old: Vec<Draft>,
}

impl Drafts {
    pub(crate) fn new(spec: &DeploymentSpec, sets: &[Arc<ReplicaSet>]) -> Self {
        let draft =
            |set: &Arc<ReplicaSet>| Draft { set: (**set).clone(), original: Some(Arc::clone(set)) };
        let mut all: Vec<Draft> = sets.iter().map(draft).collect();
        all.sort_by_key(Draft::age_key);
        let is_new = |draft: &Draft| {
            let set_template = draft.set.spec.template.as_ref();
            set_template.is_some_and(|have| template::same(have, &spec.template))
        };
        let new = all.iter().position(is_new).map(|index| all.remove(index));
        Self { new, old: all }
    }

    pub(crate) fn add_new(&mut self, set: ReplicaSet) {
        self.new = Some(Draft { set, original: None });
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Draft> {
        self.old.iter().chain(&self.new)
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Draft> {
        self.old.iter_mut().chain(&mut self.new)
    }

    /// Replicas that all of them together want.
    pub(crate) fn replicas(&self) -> i32 {
        self.all().map(Draft::replicas).sum()
    }

    pub(crate) fn available(&self) -> i32 {
        self.all().map(Draft::available).sum()
    }

    pub(crate) fn changes(self) -> (Option<Box<ReplicaSet>>, Vec<Update>) {
        let mut create = None;
        let mut update = Vec::new();
        // The new one first: a rollout must not lose pods before it has gained some.
        for draft in self.new.into_iter().chain(self.old).filter(Draft::is_changed) {
            let to = draft.replicas();
            match &draft.original {
                None => create = Some(Box::new(draft.set)),
                Some(original) => {
                    let from = original.spec.replicas.unwrap_or(1);
                    update.push(Update { replica_set: draft.set, from, to });
                }
            }
        }
        (create, update)
    }
}
