//! A Deployment from nothing to all replicas Ready, and back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::measure::Measurement;
use crate::pod_start::pod_spec;
use crate::workload::{Context, Deployment as Step};

/// How long all replicas may take.
const MOST: Duration = Duration::from_secs(300);

/// Creates a Deployment per round and scales it to nothing.
#[expect(clippy::disallowed_methods, reason = "a pause between two looks, in a tool")]
pub(crate) async fn run(context: &Context, step: &Step) -> Result<Vec<Measurement>> {
    let api: Api<Deployment> = Api::namespaced(context.client.clone(), &context.namespace);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for round in 0..step.rounds {
        tokio::time::sleep(Duration::from_millis(step.pause_ms)).await;
        let name = format!("round-{round}");
        let deployment = deployment(context, &name, step.replicas)?;
        let created = Instant::now();
        api.create(&PostParams::default(), &deployment).await.context("create a Deployment")?;
        wait_for(&api, &name, step.replicas).await?;
        up.push(created.elapsed());
        let asked = Instant::now();
        let change = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
        api.patch(&name, &PatchParams::default(), &change).await.context("scale a Deployment")?;
        wait_for(&api, &name, 0).await?;
        no_pods(context, &name).await?;
        down.push(asked.elapsed());
    }
    let total = start.elapsed();
    let result = |what: &str, durations| {
        Measurement::new(format!("deployment-{} {what}", step.replicas), 1, total, durations)
    };
    Ok(vec![result("ready", up), result("gone", down)])
}

fn deployment(context: &Context, name: &str, replicas: i32) -> Result<Deployment> {
    let mut deployment: Deployment = serde_json::from_value(json!({
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "bench": name } },
            "template": { "metadata": { "labels": { "bench": name } } },
        },
    }))?;
    deployment.metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    deployment.spec.template.spec = Some(pod_spec(&context.image));
    Ok(deployment)
}

/// Waits until the last pod of a round is gone from the API, which is when its containers have ended.
async fn no_pods(context: &Context, name: &str) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    let config = watcher::Config::default().labels(&format!("bench={name}"));
    let mut there = BTreeSet::new();
    let mut changes = watcher(api, config).boxed();
    let waiting = async {
        let mut complete = false;
        while let Some(change) = changes.try_next().await.context("watch the pods")? {
            match change {
                Event::Init => {
                    there.clear();
                    complete = false;
                }
                Event::InitApply(pod) | Event::Apply(pod) => drop(there.insert(pod.name_any())),
                Event::Delete(pod) => drop(there.remove(&pod.name_any())),
                Event::InitDone => complete = true,
            }
            if complete && there.is_empty() {
                return Ok(());
            }
        }
        bail!("the watch ended")
    };
    tokio::time::timeout(MOST, waiting).await.context("pods do not go")?
}

async fn wait_for(api: &Api<Deployment>, name: &str, replicas: i32) -> Result<()> {
    let reached = |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| {
            status.ready_replicas.unwrap_or(0) == replicas
                && status.replicas.unwrap_or(0) == replicas
        })
    };
    tokio::time::timeout(MOST, await_condition(api.clone(), name, reached))
        .await
        .with_context(|| format!("{name} takes more than {MOST:?}"))??;
    Ok(())
}
