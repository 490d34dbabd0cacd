//! Deployments roll their pods from one template to the next through ReplicaSets.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::{
    Change, Client, EventKind, Informer, Outcome, Recorder, Subject, WorkQueue, run_workers,
};
use clock::Clock;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use reconcile::deployment::{self, Plan, REVISION, Snapshot, Update};
use reconcile::{labels, pods, template};
use serde_json::json;

use crate::Context;
use crate::claims::claim_all;
use crate::dependents::{Dependents, follow};
use crate::kinds::{already_exists, name_of, namespace_gone, namespace_of, not_found};
use crate::limits::WORKERS;
use crate::notes::tell;
use crate::pod_control::text_of;

type Key = (String, String);

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let deployments = context.client.informer::<Deployment>();
    let adding = queue.clone();
    deployments.on_change(move |change| {
        let deployment = change.object();
        if !matches!(change, Change::Deleted(_)) {
            adding.add((namespace_of(&**deployment), name_of(&**deployment)));
        }
    });
    let sets = context.client.informer::<ReplicaSet>();
    let (adding, known) = (queue.clone(), deployments.clone());
    let dependents = follow(&sets, "apps", "Deployment", move |seen| {
        let set = seen.object();
        for owner in &seen.owners {
            adding.add((namespace_of(set), owner.name.clone()));
        }
        if seen.orphan {
            for deployment in known.list_in(&namespace_of(set)) {
                if labels::matches(&deployment.spec.selector, set.metadata.labels.as_ref()) {
                    adding.add((namespace_of(set), name_of(&*deployment)));
                }
            }
        }
    });
    let pods = context.client.informer::<Pod>();
    wake_recreating(&pods, &sets, &deployments, &queue);
    let recorder = Recorder::start(
        &context.client,
        context.clock.clone(),
        "deployment-controller",
        "",
        &context.scope,
    );
    let worker = Worker {
        client: context.client.clone(),
        clock: context.clock.clone(),
        deployments,
        sets,
        pods,
        dependents,
        recorder,
    };
    run_workers(&context.scope, "deployment controller", WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key.0, &key.1).await }
    });
}

fn is_recreating(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.strategy.as_ref().and_then(|s| s.type_.as_deref());
    strategy == Some("Recreate")
}

/// A Deployment that waits for its old pods to end is woken by each end.
fn wake_recreating(
    pods: &Informer<Pod>,
    sets: &Informer<ReplicaSet>,
    deployments: &Informer<Deployment>,
    queue: &WorkQueue<Key>,
) {
    let (adding, sets, deployments) = (queue.clone(), sets.clone(), deployments.clone());
    pods.on_change(move |change| {
        let pod = change.object();
        if !matches!(change, Change::Deleted(_)) && !pods::is_terminal(pod) {
            return;
        }
        let namespace = namespace_of(&**pod);
        let set = pods::controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet");
        let Some(set) = set.and_then(|owner| sets.get(&namespace, &owner.name)) else { return };
        let Some(owner) = pods::controller_of(&set.metadata) else { return };
        if deployments.get(&namespace, &owner.name).is_some_and(|d| is_recreating(&d)) {
            adding.add((namespace, owner.name.clone()));
        }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    clock: Clock,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    dependents: Dependents<ReplicaSet>,
    recorder: Recorder,
}

impl Worker {
    async fn reconcile(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.sets.synced().await;
        self.pods.synced().await;
        let Some(found) = self.deployments.get(namespace, name) else { return Ok(Outcome::Done) };
        let selector = &found.spec.selector;
        let candidates = self.dependents.candidates(&found.metadata);
        let sets = claim_all(&self.client, &*found, candidates, |metadata| {
            labels::matches(selector, metadata.labels.as_ref())
        })
        .await?;
        let running = self.running(&found, &sets);
        let snapshot = Snapshot { deployment: &found, replica_sets: &sets, running: &running };
        let plan = deployment::decide(&snapshot, self.clock.now());
        let again = plan.again_after;
        self.act(&found, plan).await?;
        Ok(again.map_or(Outcome::Done, Outcome::After))
    }

    /// UIDs of the ReplicaSets that still have pods; only asked where it matters.
    fn running(&self, deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> BTreeSet<String> {
        if !is_recreating(deployment) {
            return BTreeSet::new();
        }
        let own: BTreeSet<&str> = sets.iter().map(|set| pods::uid(&set.metadata)).collect();
        let pods = self.pods.list_in(&namespace_of(deployment));
        let owners = pods.iter().filter(|pod| !pods::is_terminal(pod));
        let owners = owners.filter_map(|pod| pods::controller_of(&pod.metadata));
        owners.filter(|o| own.contains(o.uid.as_str())).map(|o| o.uid.clone()).collect()
    }

    async fn act(&self, deployment: &Arc<Deployment>, plan: Plan) -> Result<(), kube::Error> {
        let subject = Subject::of(&**deployment);
        tell(&self.recorder, &subject, &plan.notes);
        let api = self.client.namespaced::<Deployment>(&subject.namespace);
        if let Some(rolled) = plan.rollback {
            api.replace(&subject.name, &PostParams::default(), &rolled).await?;
            return Ok(());
        }
        if let Some(set) = &plan.create
            && !self.create(deployment, &subject, set).await?
        {
            return Ok(());
        }
        for update in &plan.update {
            self.update(&subject, update).await?;
        }
        let sets = self.client.namespaced::<ReplicaSet>(&subject.namespace);
        for name in &plan.delete {
            match sets.delete(name, &DeleteParams::default()).await {
                Err(error) if !not_found(&error) => return Err(error),
                _ => {}
            }
        }
        let mut current = (**deployment).clone();
        if let Some(revision) = &plan.revision {
            let patch = json!({"metadata": {"annotations": {REVISION: revision}}});
            let patch = Patch::Merge(patch);
            match api.patch(&subject.name, &PatchParams::default(), &patch).await {
                Err(error) if not_found(&error) => return Ok(()),
                result => current.metadata = result?.metadata,
            }
        }
        self.report(current, plan.status).await
    }

    async fn report(
        &self,
        mut current: Deployment,
        status: Option<DeploymentStatus>,
    ) -> Result<(), kube::Error> {
        let Some(status) = status else { return Ok(()) };
        let api = self.client.namespaced::<Deployment>(&namespace_of(&current));
        current.status = Some(status);
        match api.replace_status(&name_of(&current), &PostParams::default(), &current).await {
            Err(error) if !not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the new ReplicaSet; `false` when the namespace takes none.
    async fn create(
        &self,
        deployment: &Deployment,
        subject: &Subject,
        set: &ReplicaSet,
    ) -> Result<bool, kube::Error> {
        let api = self.client.namespaced::<ReplicaSet>(&subject.namespace);
        let name = name_of(set);
        let error = match api.create(&PostParams::default(), set).await {
            Ok(created) => {
                let replicas = created.spec.replicas.unwrap_or(0);
                if replicas > 0 {
                    self.note_scaled(subject, &name, 0, replicas);
                }
                return Ok(true);
            }
            Err(error) => error,
        };
        if already_exists(&error) {
            return self.settle_collision(deployment, set, error).await;
        }
        if namespace_gone(&error) {
            return Ok(false);
        }
        let message = format!("Failed to create new replica set \"{name}\": {}", text_of(&error));
        let status = deployment::create_failed(deployment, &message, self.clock.now());
        self.recorder.event(subject, EventKind::Warning, "ReplicaSetCreateError", message);
        self.report(deployment.clone(), status).await?;
        Err(error)
    }

    /// The name is taken: by our own ReplicaSet that the cache does not show yet, or by another's, and then
    /// the next hash is salted.
    async fn settle_collision(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
        error: kube::Error,
    ) -> Result<bool, kube::Error> {
        let api = self.client.namespaced::<ReplicaSet>(&namespace_of(set));
        let Some(found) = api.get_opt(&name_of(set)).await? else { return Err(error) };
        let owner = pods::controller_of(&found.metadata).map(|owner| &owner.uid);
        let templates = (found.spec.template.as_ref(), set.spec.template.as_ref());
        let is_same = matches!(templates, (Some(a), Some(b)) if template::same(a, b));
        if owner == deployment.metadata.uid.as_ref() && is_same {
            return Ok(true);
        }
        let mut status = deployment.status.clone().unwrap_or_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        self.report(deployment.clone(), Some(status)).await?;
        Err(error)
    }

    async fn update(&self, subject: &Subject, update: &Update) -> Result<(), kube::Error> {
        let api = self.client.namespaced::<ReplicaSet>(&subject.namespace);
        let name = name_of(&update.replica_set);
        api.replace(&name, &PostParams::default(), &update.replica_set).await?;
        if update.from != update.to {
            self.note_scaled(subject, &name, update.from, update.to);
        }
        Ok(())
    }

    fn note_scaled(&self, subject: &Subject, name: &str, from: i32, to: i32) {
        let direction = if from < to { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
        self.recorder.event(subject, EventKind::Normal, "ScalingReplicaSet", message);
    }
}
