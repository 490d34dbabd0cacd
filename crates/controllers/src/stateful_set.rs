//! StatefulSets keep pods with names and storage of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::{
    Change, Client, EventKind, Informer, Outcome, Recorder, Subject, WorkQueue, run_workers,
};
use clock::Clock;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, PostParams, Preconditions};
use reconcile::stateful_set::{Snapshot, Step, Version, decide};
use reconcile::{labels, revision};

use crate::Context;
use crate::claims::claim_all;
use crate::dependents::{Dependents, follow};
use crate::kinds::{already_exists, conflicts, name_of, namespace_gone, namespace_of, not_found};
use crate::limits::WORKERS;
use crate::pod_control::text_of;
use crate::revisions::{self, Style};

const HASH_LABEL: &str = "controller.kubernetes.io/hash";

type Key = (String, String);

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let sets = context.client.informer::<StatefulSet>();
    let adding = queue.clone();
    sets.on_change(move |change| {
        let set = change.object();
        if !matches!(change, Change::Deleted(_)) {
            adding.add((namespace_of(&**set), name_of(&**set)));
        }
    });
    let pods = context.client.informer::<Pod>();
    let (adding, known) = (queue.clone(), sets.clone());
    let dependents = follow(&pods, "apps", "StatefulSet", move |seen| {
        let pod = seen.object();
        for owner in &seen.owners {
            adding.add((namespace_of(pod), owner.name.clone()));
        }
        if seen.orphan {
            for set in known.list_in(&namespace_of(pod)) {
                if labels::matches(&set.spec.selector, pod.metadata.labels.as_ref()) {
                    adding.add((namespace_of(pod), name_of(&*set)));
                }
            }
        }
    });
    let claims = context.client.informer::<PersistentVolumeClaim>();
    wake_on_claims(&claims, &sets, &queue);
    let histories = context.client.informer::<ControllerRevision>();
    let history = follow(&histories, "apps", "StatefulSet", |_| {});
    let (client, clock) = (context.client.clone(), context.clock.clone());
    let recorder =
        Recorder::start(&client, clock.clone(), "statefulset-controller", "", &context.scope);
    let worker =
        Worker { client, clock, sets, pods, claims, histories, dependents, history, recorder };
    run_workers(&context.scope, "stateful set controller", WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key.0, &key.1).await }
    });
}

/// A claim that goes may be what the next pod waits for.
fn wake_on_claims(
    claims: &Informer<PersistentVolumeClaim>,
    sets: &Informer<StatefulSet>,
    queue: &WorkQueue<Key>,
) {
    let (adding, sets) = (queue.clone(), sets.clone());
    claims.on_change(move |change| {
        let Change::Deleted(claim) = change else { return };
        let (namespace, name) = (namespace_of(&**claim), name_of(&**claim));
        for set in sets.list_in(&namespace) {
            let templates = set.spec.volume_claim_templates.iter().flatten();
            let mut prefixes =
                templates.map(|template| format!("{}-{}-", name_of(template), name_of(&*set)));
            if prefixes.any(|prefix| name.starts_with(&prefix)) {
                adding.add((namespace.clone(), name_of(&*set)));
            }
        }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    clock: Clock,
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    histories: Informer<ControllerRevision>,
    dependents: Dependents<Pod>,
    history: Dependents<ControllerRevision>,
    recorder: Recorder,
}

impl Worker {
    async fn reconcile(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.pods.synced().await;
        self.claims.synced().await;
        self.histories.synced().await;
        let Some(set) = self.sets.get(namespace, name) else { return Ok(Outcome::Done) };
        let fits = |metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
            labels::matches(&set.spec.selector, metadata.labels.as_ref())
        };
        let candidates = self.history.candidates(&set.metadata);
        let history = claim_all(&self.client, &*set, candidates, fits).await?;
        let candidates = self.dependents.candidates(&set.metadata);
        // Only pods with the set's names are taken.
        let own = claim_all(&self.client, &*set, candidates, |metadata| {
            let number = metadata.name.as_deref().and_then(|pod| pod.rsplit_once('-'));
            fits(metadata) && number.is_some_and(|(parent, _)| parent == name)
        })
        .await?;
        let (update, collisions) = self.revision(&set, &history).await?;
        let current = current_revision(&set, &history, &update);
        let (Some(current), Some(updated)) = (version(&current), version(&update)) else {
            tracing::warn!(namespace, name, "a revision keeps no template");
            return Ok(Outcome::Done);
        };
        let claims = self.claims_of(&set);
        let snapshot = Snapshot {
            set: &set,
            pods: &own,
            claims: &claims,
            current: &current,
            update: &updated,
            collisions: collisions.unwrap_or(0),
        };
        let plan = decide(&snapshot, self.clock.now());
        let result = self.act(&set, plan.steps).await;
        self.report(&set, plan.status).await?;
        result?;
        let live = own.iter().filter_map(|pod| pod.metadata.labels.as_ref());
        let mut live: BTreeSet<String> =
            live.filter_map(|labels| labels.get(revision::POD_LABEL)).cloned().collect();
        live.extend([current.revision, updated.revision]);
        let limit = set.spec.revision_history_limit.unwrap_or(10);
        revisions::clean_up(&self.client, namespace, &history, &live, limit).await?;
        Ok(plan.again_after.map_or(Outcome::Done, Outcome::After))
    }

    async fn revision(
        &self,
        set: &StatefulSet,
        history: &[Arc<ControllerRevision>],
    ) -> Result<(Arc<ControllerRevision>, Option<i32>), kube::Error> {
        let template = &set.spec.template;
        let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
        let style = Style { labels: labels.unwrap_or_default(), hash_label: HASH_LABEL };
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        revisions::settle(&self.client, set, template, style, collisions, history).await
    }

    fn claims_of(&self, set: &StatefulSet) -> BTreeMap<String, Arc<PersistentVolumeClaim>> {
        if set.spec.volume_claim_templates.as_ref().is_none_or(Vec::is_empty) {
            return BTreeMap::new();
        }
        let claims = self.claims.list_in(&namespace_of(set));
        claims.into_iter().map(|claim| (name_of(&*claim), claim)).collect()
    }

    async fn act(&self, set: &StatefulSet, steps: Vec<Step>) -> Result<(), kube::Error> {
        let steps: Vec<_> = steps.into_iter().map(|step| self.step(set, step)).collect();
        let results = futures::future::join_all(steps).await;
        results.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }

    async fn step(&self, set: &StatefulSet, step: Step) -> Result<(), kube::Error> {
        let namespace = namespace_of(set);
        match step {
            Step::Create { pod, claims } => {
                self.make_claims(set, &name_of(&*pod), claims).await?;
                self.create(set, &pod).await
            }
            Step::Claim { pod, claims } => self.make_claims(set, &name_of(&*pod), claims).await,
            Step::Update(pod) => {
                let api = self.client.namespaced::<Pod>(&namespace);
                let result = api.replace(&name_of(&*pod), &PostParams::default(), &pod).await;
                self.tell(set, "update", &name_of(&*pod), result.as_ref().err());
                result.map(|_| ())
            }
            Step::Own(claim) => {
                let api = self.client.namespaced::<PersistentVolumeClaim>(&namespace);
                match api.replace(&name_of(&*claim), &PostParams::default(), &claim).await {
                    Err(error) if !not_found(&error) => Err(error),
                    _ => Ok(()),
                }
            }
            Step::Delete(pod) => self.delete(set, &pod).await,
        }
    }

    async fn create(&self, set: &StatefulSet, pod: &Pod) -> Result<(), kube::Error> {
        let api = self.client.namespaced::<Pod>(&namespace_of(set));
        match api.create(&PostParams::default(), pod).await {
            // Made a moment ago and not seen yet; another's pod of that name keeps the set waiting.
            Err(error) if already_exists(&error) => Err(error),
            Err(error) if namespace_gone(&error) => Ok(()),
            result => {
                self.tell(set, "create", &name_of(pod), result.as_ref().err());
                result.map(|_| ())
            }
        }
    }

    async fn delete(&self, set: &StatefulSet, pod: &Pod) -> Result<(), kube::Error> {
        let api = self.client.namespaced::<Pod>(&namespace_of(set));
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(&name_of(pod), &params).await {
            Err(error) if not_found(&error) || conflicts(&error) => Ok(()),
            result => {
                self.tell(set, "delete", &name_of(pod), result.as_ref().err());
                result.map(|_| ())
            }
        }
    }

    async fn make_claims(
        &self,
        set: &StatefulSet,
        pod: &str,
        claims: Vec<PersistentVolumeClaim>,
    ) -> Result<(), kube::Error> {
        let api = self.client.namespaced::<PersistentVolumeClaim>(&namespace_of(set));
        let (subject, set_name) = (Subject::of(set), name_of(set));
        for claim in claims {
            let name = name_of(&claim);
            match api.create(&PostParams::default(), &claim).await {
                Err(error) if already_exists(&error) => {}
                Ok(_) => {
                    let message =
                        format!("create Claim {name} Pod {pod} in StatefulSet {set_name} success");
                    self.recorder.event(&subject, EventKind::Normal, "SuccessfulCreate", message);
                }
                Err(error) => {
                    let message = format!(
                        "create Claim {name} for Pod {pod} in StatefulSet {set_name} failed error: {}",
                        text_of(&error)
                    );
                    self.recorder.event(&subject, EventKind::Warning, "FailedCreate", message);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn tell(&self, set: &StatefulSet, verb: &str, pod: &str, error: Option<&kube::Error>) {
        let (subject, name) = (Subject::of(set), name_of(set));
        let what = match verb {
            "create" => "Create",
            "update" => "Update",
            _ => "Delete",
        };
        match error {
            None => {
                let message = format!("{verb} Pod {pod} in StatefulSet {name} successful");
                let reason = format!("Successful{what}");
                self.recorder.event(&subject, EventKind::Normal, &reason, message);
            }
            Some(error) => {
                let text = text_of(error);
                let message =
                    format!("{verb} Pod {pod} in StatefulSet {name} failed error: {text}");
                let reason = format!("Failed{what}");
                self.recorder.event(&subject, EventKind::Warning, &reason, message);
            }
        }
    }

    async fn report(&self, set: &StatefulSet, new: StatefulSetStatus) -> Result<(), kube::Error> {
        if set.status.as_ref() == Some(&new) {
            return Ok(());
        }
        let api = self.client.namespaced::<StatefulSet>(&namespace_of(set));
        let reported = StatefulSet { status: Some(new), ..set.clone() };
        match api.replace_status(&name_of(set), &PostParams::default(), &reported).await {
            Err(error) if !not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

fn version(revision: &ControllerRevision) -> Option<Version> {
    let template = revision::template_of(revision)?;
    Some(Version { revision: name_of(revision), template })
}

/// The revision that the set's pods have until they are rolled.
fn current_revision(
    set: &StatefulSet,
    history: &[Arc<ControllerRevision>],
    update: &Arc<ControllerRevision>,
) -> Arc<ControllerRevision> {
    let named = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
    let found = history.iter().find(|revision| Some(revision::name(revision)) == named);
    Arc::clone(found.unwrap_or(update))
}
