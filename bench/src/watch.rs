//! Many watchers of one resource: from the start of a write to the event at each watcher.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{PostParams, WatchEvent, WatchParams};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::measure::Measurement;
use crate::verbs::config_map;
use crate::workload::{Context, Watch};

/// How long watchers may take to see all writes.
const MOST: Duration = Duration::from_secs(120);
/// The field that says when a write began, in nanoseconds since the run's start.
const SENT: &str = "sent";

/// Writes one after another, while all watch.
pub(crate) async fn run(context: &Context, step: &Watch) -> Result<Vec<Measurement>> {
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &context.namespace);
    let version = api.list_metadata(&Default::default()).await?.metadata.resource_version;
    let version = version.context("the list has no revision")?;
    let epoch = Instant::now();
    let ready = Arc::new(Barrier::new(step.watchers + 1));
    let mut watchers = JoinSet::new();
    for _ in 0..step.watchers {
        let (api, version, ready, writes) =
            (api.clone(), version.clone(), Arc::clone(&ready), step.writes);
        watchers.spawn(async move { watch(api, &version, epoch, writes, &ready).await });
    }
    ready.wait().await;
    let start = Instant::now();
    for index in 0..step.writes {
        let mut object = config_map(index, 64);
        let sent = epoch.elapsed().as_nanos().to_string();
        object.data.get_or_insert_default().insert(SENT.to_owned(), sent);
        api.create(&PostParams::default(), &object).await?;
    }
    let mut durations = Vec::new();
    while let Some(watched) =
        tokio::time::timeout(MOST, watchers.join_next()).await.context("events are missing")?
    {
        durations.extend(watched??);
    }
    Ok(vec![Measurement::new("watch-event", step.watchers, start.elapsed(), durations)])
}

async fn watch(
    api: Api<ConfigMap>,
    version: &str,
    epoch: Instant,
    writes: usize,
    ready: &Barrier,
) -> Result<Vec<Duration>> {
    let stream = api.watch(&WatchParams::default(), version).await;
    ready.wait().await;
    let mut stream = stream?.boxed();
    let mut durations = Vec::with_capacity(writes);
    while durations.len() < writes {
        match stream.next().await.context("the watch ended")?? {
            WatchEvent::Added(object) => {
                let sent = object.data.as_ref().and_then(|data| data.get(SENT)?.parse().ok());
                if let Some(sent) = sent {
                    durations.push(epoch.elapsed().saturating_sub(Duration::from_nanos(sent)));
                }
            }
            WatchEvent::Error(status) => bail!("the watch failed: {status:?}"),
            _ => {}
        }
    }
    Ok(durations)
}
