//! Scheduling alone: pods onto fake nodes that no kubelet serves, from created to bound.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;

use crate::measure::{Measurement, repeat};
use crate::pod_start::{has_condition, pod_spec};
use crate::workload::{Context, Schedule};

/// The label of fake nodes; pods ask for it, so that they come to no real node.
const LABEL: &str = "bench.keelson/fake";
/// How long all pods may take.
const MOST: Duration = Duration::from_secs(300);

/// Makes nodes and pods, measures, removes both.
pub(crate) async fn run(context: &Context, step: &Schedule) -> Result<Vec<Measurement>> {
    let nodes: Api<Node> = Api::all(context.client.clone());
    for index in 0..step.nodes {
        make_node(&nodes, &format!("bench-fake-{index:04}")).await?;
    }
    let measured = measure(context, step).await;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    // No kubelet would confirm these deletions.
    pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default())
        .await?;
    nodes.delete_collection(&DeleteParams::default(), &ListParams::default().labels(LABEL)).await?;
    measured
}

async fn make_node(nodes: &Api<Node>, name: &str) -> Result<()> {
    let node: Node = serde_json::from_value(json!({
        "metadata": { "name": name, "labels": { LABEL: "true" } },
        "spec": { "taints": [{ "key": LABEL, "effect": "NoSchedule" }] },
    }))?;
    nodes.create(&PostParams::default(), &node).await.context("create a fake node")?;
    let mut there = nodes.get(name).await?;
    there.status = serde_json::from_value(json!({
        "allocatable": { "cpu": "64", "memory": "256Gi", "pods": "500" },
        "capacity": { "cpu": "64", "memory": "256Gi", "pods": "500" },
        "conditions": [{ "type": "Ready", "status": "True", "reason": "Bench" }],
    }))?;
    nodes
        .replace_status(name, &PostParams::default(), &there)
        .await
        .context("make a fake node ready")?;
    Ok(())
}

async fn measure(context: &Context, step: &Schedule) -> Result<Vec<Measurement>> {
    let api: &Api<Pod> = &Api::namespaced(context.client.clone(), &context.namespace);
    let watching = tokio::spawn(bound(api.clone(), step.pods));
    let start = Instant::now();
    let create = repeat("create-pod", step.pods, step.concurrency, async |index| {
        let mut spec = pod_spec(&context.image);
        spec.node_selector = Some([(LABEL.to_owned(), "true".to_owned())].into());
        spec.tolerations = serde_json::from_value(json!([{ "key": LABEL, "operator": "Exists" }]))?;
        let metadata =
            ObjectMeta { name: Some(format!("pod-{index:05}")), ..ObjectMeta::default() };
        let pod = Pod { metadata, spec: Some(spec), ..Pod::default() };
        api.create(&PostParams::default(), &pod).await?;
        Ok(())
    })
    .await?;
    let instants =
        tokio::time::timeout(MOST, watching).await.context("pods are not bound")???;
    let durations = instants.into_iter().map(|instant| instant - start).collect();
    Ok(vec![
        create,
        Measurement::new(
            "bound since the first create",
            step.concurrency,
            start.elapsed(),
            durations,
        ),
    ])
}

/// When each pod was seen to be scheduled.
async fn bound(api: Api<Pod>, pods: usize) -> Result<Vec<Instant>> {
    let mut seen = std::collections::BTreeMap::new();
    let mut changes = watcher(api, watcher::Config::default()).applied_objects().boxed();
    while seen.len() < pods {
        let pod = changes.try_next().await?.context("the watch ended")?;
        if has_condition(Some(&pod), "PodScheduled") {
            seen.entry(pod.metadata.name).or_insert_with(Instant::now);
        }
    }
    Ok(seen.into_values().collect())
}
