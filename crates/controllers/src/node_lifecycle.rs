//! Nodes that stop reporting are marked and tainted, and their pods moved away.

use client::{Change, Client, Informer, Outcome, WorkQueue, run_workers};
use clock::Clock;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams};
use reconcile::node_lifecycle::{self, Evict};
use serde_json::json;

use crate::Context;
use crate::kinds::{name_of, namespace_of, not_found};
use crate::limits::{NODE_GRACE, WORKERS};

const LEASE_NAMESPACE: &str = "kube-node-lease";

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<String> = WorkQueue::new();
    let nodes = context.client.informer::<Node>();
    let leases = context
        .client
        .informer_of::<Lease>(client::WatchScope::all::<Lease>().namespace(LEASE_NAMESPACE));
    let adding = queue.clone();
    nodes.on_change(move |change| {
        if !matches!(change, Change::Deleted(_)) {
            adding.add(name_of(&**change.object()));
        }
    });
    let pods = context.client.informer::<Pod>();
    let worker = Worker {
        client: context.client.clone(),
        clock: context.clock.clone(),
        nodes,
        leases,
        pods,
    };
    run_workers(&context.scope, "node lifecycle controller", WORKERS, &queue, move |name| {
        let worker = worker.clone();
        async move { worker.reconcile(&name).await }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    clock: Clock,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
}

impl Worker {
    async fn reconcile(&self, name: &str) -> Result<Outcome, kube::Error> {
        self.leases.synced().await;
        let Some(node) = self.nodes.get("", name) else { return Ok(Outcome::Done) };
        let renewed = self
            .leases
            .get(LEASE_NAMESPACE, name)
            .and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
        let now = self.clock.now();
        let plan = node_lifecycle::decide(&node, renewed, now, NODE_GRACE);
        let api = self.client.all::<Node>();
        if let Some(conditions) = &plan.conditions {
            let patch = json!({"status": {"conditions": conditions}});
            let patched =
                api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            ignore_gone(patched.map(|_| ()))?;
        }
        if let Some(taints) = &plan.taints {
            let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version},
                "spec": {"taints": taints}});
            let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
            ignore_gone(patched.map(|_| ()))?;
        }
        let mut again = plan.again_after;
        for pod in self.pods_of(name) {
            match node_lifecycle::eviction(&node, &pod, now) {
                Evict::Now => self.evict(&pod).await?,
                Evict::After(pause) => again = again.min(pause),
                Evict::Never => {}
            }
        }
        Ok(Outcome::After(again))
    }

    fn pods_of(&self, node: &str) -> Vec<std::sync::Arc<Pod>> {
        let mut pods = self.pods.list();
        pods.retain(|pod| pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(node));
        pods
    }

    async fn evict(&self, pod: &Pod) -> Result<(), kube::Error> {
        let api = self.client.namespaced::<Pod>(&namespace_of(pod));
        let condition = json!({"status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True",
            "reason": "DeletionByTaintManager", "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": self.clock.now(),
        }]}});
        let name = name_of(pod);
        let marked =
            api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(condition)).await;
        ignore_gone(marked.map(|_| ()))?;
        ignore_gone(api.delete(&name, &DeleteParams::default()).await.map(|_| ()))
    }
}

fn ignore_gone(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(error) if !not_found(&error) => Err(error),
        _ => Ok(()),
    }
}
