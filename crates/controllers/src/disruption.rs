//! Keeps the status of PodDisruptionBudgets, which evictions are measured by.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{
    Change, Client, EventKind, Informer, Outcome, Recorder, Subject, WorkQueue, run_workers,
};
use clock::Clock;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PostParams;
use reconcile::disruption::{Snapshot, decide, needs_scale};
use reconcile::{labels, pods};

use crate::Context;
use crate::kinds::{name_of, namespace_of, not_found};
use crate::limits::WORKERS;

type Key = (String, String);

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let budgets = context.client.informer::<PodDisruptionBudget>();
    let adding = queue.clone();
    budgets.on_change(move |change| {
        let budget = change.object();
        if !matches!(change, Change::Deleted(_)) {
            adding.add((namespace_of(&**budget), name_of(&**budget)));
        }
    });
    let pods = context.client.informer::<Pod>();
    let (adding, known) = (queue.clone(), budgets.clone());
    pods.on_change(move |change| {
        let namespace = namespace_of(&**change.object());
        for budget in known.list_in(&namespace) {
            let before = matches!(change, Change::Updated { old, .. } if covers(&budget, old));
            if before || covers(&budget, change.object()) {
                adding.add((namespace.clone(), name_of(&*budget)));
            }
        }
    });
    let (client, clock) = (context.client.clone(), context.clock.clone());
    let recorder = Recorder::start(&client, clock.clone(), "controllermanager", "", &context.scope);
    let worker = Worker {
        scales: Scales {
            deployments: client.informer(),
            replica_sets: client.informer(),
            stateful_sets: client.informer(),
            replication_controllers: client.informer(),
        },
        client,
        clock,
        budgets,
        pods,
        recorder,
    };
    run_workers(&context.scope, "disruption controller", WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key.0, &key.1).await }
    });
}

/// Whether a budget is about a pod. Without a selector it is about none.
fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| labels::matches(selector, pod.metadata.labels.as_ref()))
}

/// The kinds whose size is known.
#[derive(Clone)]
struct Scales {
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    replication_controllers: Informer<ReplicationController>,
}

impl Scales {
    async fn synced(&self) {
        self.deployments.synced().await;
        self.replica_sets.synced().await;
        self.stateful_sets.synced().await;
        self.replication_controllers.synced().await;
    }

    /// UID and wanted replicas of what stands behind a controller.
    fn of(&self, namespace: &str, owner: &OwnerReference) -> Option<(String, i32)> {
        let same = |uid: Option<&String>| uid == Some(&owner.uid);
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let set = self.replica_sets.get(namespace, &owner.name)?;
                if !same(set.metadata.uid.as_ref()) {
                    return None;
                }
                let parent = pods::controller_of(&set.metadata).filter(|o| o.kind == "Deployment");
                let Some(parent) = parent else {
                    return Some((owner.uid.clone(), set.spec.replicas.unwrap_or(1)));
                };
                let deployment = self.deployments.get(namespace, &parent.name)?;
                let is_parent = deployment.metadata.uid.as_ref() == Some(&parent.uid);
                is_parent.then(|| (parent.uid.clone(), deployment.spec.replicas.unwrap_or(1)))
            }
            "StatefulSet" => {
                let set = self.stateful_sets.get(namespace, &owner.name)?;
                let is_owner = same(set.metadata.uid.as_ref());
                is_owner.then(|| (owner.uid.clone(), set.spec.replicas.unwrap_or(1)))
            }
            "ReplicationController" => {
                let set = self.replication_controllers.get(namespace, &owner.name)?;
                let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
                same(set.metadata.uid.as_ref()).then(|| (owner.uid.clone(), replicas))
            }
            _ => None,
        }
    }
}

#[derive(Clone)]
struct Worker {
    client: Client,
    clock: Clock,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    scales: Scales,
    recorder: Recorder,
}

impl Worker {
    async fn reconcile(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.pods.synced().await;
        self.scales.synced().await;
        let Some(budget) = self.budgets.get(namespace, name) else { return Ok(Outcome::Done) };
        let mut pods = self.pods.list_in(namespace);
        pods.retain(|pod| covers(&budget, pod));
        let subject = Subject::of(&*budget);
        if pods.is_empty() {
            let message = "No matching pods found";
            self.recorder.event(&subject, EventKind::Normal, "NoPods", message);
        }
        let scale = if needs_scale(&budget) { self.scale(&budget, &pods) } else { Ok(0) };
        let snapshot = Snapshot { budget: &budget, pods: &pods, scale };
        let plan = decide(&snapshot, self.clock.now());
        if let Some(failure) = &plan.failure {
            let message = format!("Failed to calculate the number of expected pods: {failure}");
            let reason = "CalculateExpectedPodCountFailed";
            self.recorder.event(&subject, EventKind::Warning, reason, message);
        }
        for pod in &plan.not_deleted {
            let message =
                format!("Pod was expected by PDB {namespace}/{name} to be deleted but it wasn't");
            self.recorder.event(&Subject::of(&**pod), EventKind::Warning, "NotDeleted", message);
        }
        self.report(&budget, plan.status).await?;
        Ok(plan.again_after.map_or(Outcome::Done, Outcome::After))
    }

    /// Replicas that the pods' controllers want together.
    fn scale(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<i32, String> {
        let namespace = namespace_of(budget);
        let mut scales: BTreeMap<String, i32> = BTreeMap::new();
        let mut unmanaged = false;
        for pod in pods {
            let Some(owner) = pods::controller_of(&pod.metadata) else {
                unmanaged = true;
                continue;
            };
            let Some((uid, replicas)) = self.scales.of(&namespace, owner) else {
                return Err(format!("found no controllers for pod \"{}\"", pods::name(pod)));
            };
            scales.insert(uid, replicas);
        }
        if unmanaged {
            let message = "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.";
            self.recorder.event(&Subject::of(budget), EventKind::Warning, "UnmanagedPods", message);
        }
        Ok(scales.values().sum())
    }

    async fn report(
        &self,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> Result<(), kube::Error> {
        if budget.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api = self.client.namespaced::<PodDisruptionBudget>(&namespace_of(budget));
        let reported = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        match api.replace_status(&name_of(budget), &PostParams::default(), &reported).await {
            Err(error) if !not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}
