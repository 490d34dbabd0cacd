//! Revisions: the ReplicaSet of the present template, its number, and how many old ones are kept.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::draft::Draft;
use super::{
    DESIRED_REPLICAS, MAX_REPLICAS, REVISION, REVISION_HISTORY, ROLLBACK_TO, Work, scaling,
};
use crate::{pods, template};

/// Characters that the list of earlier revisions may have.
const HISTORY_CHARACTERS_MAX: usize = 2000;
/// Annotations that are about one object and are not passed on.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    ROLLBACK_TO,
];

/// Whether an annotation belongs to its object alone.
pub(crate) fn is_own(key: &str) -> bool {
    NOT_COPIED.contains(&key)
}

impl Work<'_> {
    /// Brings the new ReplicaSet's annotations and revision up to date; makes it when it is missing and
    /// `create` says so.
    pub(crate) fn sync_revision(&mut self, create: bool) {
        let newest_old = self.drafts.old.iter().filter_map(Draft::revision).max().unwrap_or(0);
        let revision = newest_old.max(0) + 1;
        if self.drafts.new.is_some() {
            self.adopt_new(revision);
        } else if create {
            self.create_new(revision);
        }
    }

    fn adopt_new(&mut self, revision: i64) {
        let Some(new) = self.drafts.new.as_mut() else { return };
        copy_annotations(self.deployment.metadata.annotations.as_ref(), new);
        set_revision(new, revision);
        let spec = &mut new.set.spec;
        if spec.min_ready_seconds.unwrap_or(0) != self.spec.min_ready_seconds.unwrap_or(0) {
            spec.min_ready_seconds = self.spec.min_ready_seconds;
        }
        let (name, text) = (new.name().to_owned(), new.annotation(REVISION).map(str::to_owned));
        self.set_deployment_revision(text);
        if self.has_deadline() && self.conditions.get("Progressing").is_none() {
            let message = format!("Found new replica set \"{name}\"");
            self.conditions.set("Progressing", "True", "FoundNewReplicaSet", message);
        }
    }

    fn create_new(&mut self, revision: i64) {
        let set = self.new_replica_set();
        let name = set.metadata.name.clone().unwrap_or_default();
        self.drafts.add_new(set);
        let replicas = self.initial_replicas();
        let (desired, most) = (self.replicas(), self.replicas() + self.max_surge());
        if let Some(new) = self.drafts.new.as_mut() {
            copy_annotations(self.deployment.metadata.annotations.as_ref(), new);
            set_revision(new, revision);
            new.scale(replicas, desired, most);
        }
        self.set_deployment_revision(Some(revision.to_string()));
        if self.has_deadline() {
            let message = format!("Created new replica set \"{name}\"");
            self.conditions.set("Progressing", "True", "NewReplicaSetCreated", message);
        }
    }

    fn initial_replicas(&self) -> i32 {
        match self.strategy() {
            "Recreate" => self.replicas(),
            _ => scaling::grown(&self.drafts, self.replicas(), self.max_surge()),
        }
    }

    fn new_replica_set(&self) -> ReplicaSet {
        let metadata = &self.deployment.metadata;
        let hash = template::hash(&self.spec.template, self.old.collision_count);
        let mut pod_template = self.spec.template.clone();
        let labels = pod_template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(template::HASH_LABEL.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut selector = self.spec.selector.clone();
        let exact = selector.match_labels.get_or_insert_default();
        exact.insert(template::HASH_LABEL.to_owned(), hash.clone());
        ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", self.name())),
                namespace: metadata.namespace.clone(),
                labels: Some(labels),
                owner_references: Some(vec![OwnerReference {
                    api_version: "apps/v1".to_owned(),
                    kind: "Deployment".to_owned(),
                    name: self.name().to_owned(),
                    uid: pods::uid(metadata).to_owned(),
                    controller: Some(true),
                    block_owner_deletion: Some(true),
                }]),
                ..ObjectMeta::default()
            },
            spec: ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds: self.spec.min_ready_seconds,
                selector,
                template: Some(pod_template),
            },
            status: None,
        }
    }

    fn set_deployment_revision(&mut self, revision: Option<String>) {
        let annotations = self.deployment.metadata.annotations.as_ref();
        let have = annotations.and_then(|annotations| annotations.get(REVISION));
        if let Some(revision) = revision.filter(|revision| have != Some(revision)) {
            self.plan.revision = Some(revision);
        }
    }

    /// Deletes old ReplicaSets that have no pods, beyond those that history keeps.
    pub(crate) fn clean_up(&mut self) {
        let Some(limit) = self.spec.revision_history_limit.filter(|limit| *limit != i32::MAX)
        else {
            return;
        };
        let lives = |draft: &&Draft| draft.set.metadata.deletion_timestamp.is_none();
        let mut old: Vec<&Draft> = self.drafts.old.iter().filter(lives).collect();
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        // The drafts are sorted by age and the sort keeps that order among equals.
        old.sort_by_key(|draft| draft.revision().unwrap_or(0));
        let is_idle = |draft: &&&Draft| {
            let generation = draft.set.metadata.generation.unwrap_or(0);
            let status = draft.set.status.as_ref();
            let observed = status.and_then(|status| status.observed_generation).unwrap_or(0);
            draft.actual() == 0 && draft.replicas() == 0 && generation <= observed
        };
        let idle = old.iter().take(surplus).filter(is_idle);
        self.plan.delete = idle.map(|draft| draft.name().to_owned()).collect();
    }
}

fn copy_annotations(from: Option<&crate::labels::Labels>, to: &mut Draft) {
    for (key, value) in from.into_iter().flatten() {
        if !is_own(key) && to.annotation(key) != Some(value) {
            to.annotate(key, value.clone());
        }
    }
}

/// Gives a ReplicaSet a newer revision and remembers the one it had.
fn set_revision(draft: &mut Draft, revision: i64) {
    let had = draft.annotation(REVISION).map(str::to_owned);
    let Some(old) = draft.revision() else { return };
    if old >= revision {
        return;
    }
    draft.annotate(REVISION, revision.to_string());
    let Some(had) = had else { return };
    let history = draft.annotation(REVISION_HISTORY).unwrap_or_default().to_owned();
    let mut revisions: Vec<&str> = history.split(',').filter(|text| !text.is_empty()).collect();
    revisions.push(&had);
    let mut length = revisions.iter().map(|text| text.len() + 1).sum::<usize>() - 1;
    let mut first = 0;
    while length > HISTORY_CHARACTERS_MAX && first < revisions.len() {
        length -= revisions[first].len() + 1;
        first += 1;
    }
    let kept = revisions[first..].join(",");
    draft.annotate(REVISION_HISTORY, kept);
}
