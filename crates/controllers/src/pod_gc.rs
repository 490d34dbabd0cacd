//! Removes pods that nobody else will remove.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{Change, Client, Informer, Outcome, WorkQueue, run_workers};
use clock::Clock;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use reconcile::pod_gc::{Snapshot, Why, decide};
use reconcile::pods;
use serde_json::json;

use crate::Context;
use crate::kinds::{conflicts, name_of, namespace_of, not_found};
use crate::limits::{POD_GC_PERIOD, TERMINATED_PODS_MAX};

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<()> = WorkQueue::new();
    let pods = context.client.informer::<Pod>();
    let nodes = context.client.informer::<Node>();
    let adding = queue.clone();
    pods.on_change(move |change| {
        let pod = change.object();
        let gone = matches!(change, Change::Deleted(_));
        if !gone && pods::is_deleting(pod) && pods::node(pod).is_empty() {
            adding.add(());
        }
    });
    let adding = queue.clone();
    nodes.on_change(move |change| {
        if matches!(change, Change::Deleted(_)) {
            adding.add(());
        }
    });
    queue.add(());
    let worker = Worker {
        client: context.client.clone(),
        clock: context.clock.clone(),
        pods,
        nodes,
        missing_since: Arc::default(),
    };
    run_workers(&context.scope, "pod garbage collector", 1, &queue, move |()| {
        let worker = worker.clone();
        async move { worker.collect().await }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    clock: Clock,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    missing_since: Arc<Mutex<BTreeMap<String, Timestamp>>>,
}

impl Worker {
    async fn collect(&self) -> Result<Outcome, kube::Error> {
        self.pods.synced().await;
        self.nodes.synced().await;
        let (pods, nodes) = (self.pods.list(), self.nodes.list());
        let missing_since = self.missing_since.lock().clone();
        let now = self.clock.now();
        let snapshot = Snapshot {
            pods: &pods,
            nodes: &nodes,
            missing_since: &missing_since,
            terminated_max: TERMINATED_PODS_MAX,
        };
        let plan = decide(&snapshot, now);
        {
            let mut missing_since = self.missing_since.lock();
            missing_since.retain(|node, _| plan.missing.contains(node));
            for node in &plan.missing {
                missing_since.entry(node.clone()).or_insert(now);
            }
        }
        for (pod, why) in &plan.delete {
            if *why == Why::NodeGone && !self.is_gone(pods::node(pod)).await? {
                continue;
            }
            self.remove(pod, *why).await?;
        }
        Ok(Outcome::After(POD_GC_PERIOD))
    }

    /// The cache may be old: only the server knows.
    async fn is_gone(&self, node: &str) -> Result<bool, kube::Error> {
        Ok(self.client.all::<Node>().get_opt(node).await?.is_none())
    }

    async fn remove(&self, pod: &Pod, why: Why) -> Result<(), kube::Error> {
        let api = self.client.namespaced::<Pod>(&namespace_of(pod));
        let name = name_of(pod);
        if let Some(message) = why.message().filter(|_| !pods::is_terminal(pod)) {
            let status = json!({"metadata": {"uid": pod.metadata.uid}, "status": {
                "phase": "Failed",
                "conditions": [{"type": "DisruptionTarget", "status": "True",
                    "reason": "DeletionByPodGC", "message": message,
                    "lastTransitionTime": self.clock.now()}]}});
            let patch = Patch::Strategic(status);
            ignore_gone(
                api.patch_status(&name, &PatchParams::default(), &patch).await.map(|_| ()),
            )?;
        }
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        ignore_gone(api.delete(&name, &params).await.map(|_| ()))
    }
}

fn ignore_gone(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(error) if not_found(&error) || conflicts(&error) => Ok(()),
        result => result,
    }
}
