//! Watching memory, disk and process ids, and ending pods when there is too little, or when they take more of the disk
//! than they may. Which one and why is decided in `podlife::eviction`.

use std::sync::Arc;

use client::EventKind;
use cri::PodSandboxStatsFilter;
use k8s_openapi::api::core::v1::Pod;
use podlife::eviction::storage::StorageLimits;
use podlife::eviction::usage::PodUsage;
use podlife::eviction::victim::{self, Candidate};
use podlife::eviction::{self, Level, Levels, Pressure, Shortage, Signal};
use podlife::observed::pod_labels;
use podlife::pod;
use podlife::status::{Cause, Verdict};

use crate::limits::{EVICTION_GRACE_S, EVICTION_PERIOD, STORAGE_LIMIT_PERIOD};
use crate::node::{machine, subject};
use crate::shared::{self, Shared};
use crate::{image_gc, pods, usage};

#[derive(Default)]
struct Watch {
    memory: Pressure,
    disk: Pressure,
    pids: Pressure,
}

/// Looks at the machine for as long as the kubelet runs.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut watch = Watch::default();
    loop {
        let shortages = match levels(&shared).await {
            Ok(levels) => eviction::shortages(&levels, &shared.config.eviction),
            Err(error) => {
                tracing::debug!(%error, "cannot look at what the machine has left");
                Vec::new()
            }
        };
        report(&shared, &mut watch, &shortages);
        if let Some(shortage) = shortages.first() {
            relieve(&shared, shortage).await;
        }
        shared.clock.sleep(EVICTION_PERIOD).await;
    }
}

async fn levels(shared: &Shared) -> Result<Levels, machine::MachineError> {
    let (most, running) = machine::process_ids()?;
    let memory = Level {
        total: u64::try_from(shared.place.node.memory_bytes).unwrap_or(0),
        free: u64::try_from(machine::memory_available()?).unwrap_or(0),
    };
    let process_ids = Level { total: most, free: most.saturating_sub(running) };
    let mut levels = Levels::from([(Signal::Memory, memory), (Signal::ProcessIds, process_ids)]);
    let disk = machine::disk(&shared.config.root)?;
    levels.insert(Signal::Disk, bytes(&disk));
    levels.insert(Signal::DiskInodes, inodes(&disk));
    if let Some(path) = image_gc::file_system(shared).await {
        let disk = machine::disk(&path)?;
        levels.insert(Signal::ImageDisk, bytes(&disk));
        levels.insert(Signal::ImageDiskInodes, inodes(&disk));
    }
    Ok(levels)
}

fn bytes(disk: &machine::Disk) -> Level {
    Level { total: disk.bytes_usable, free: disk.bytes_free }
}

fn inodes(disk: &machine::Disk) -> Level {
    Level { total: disk.inodes, free: disk.inodes_free }
}

fn report(shared: &Shared, watch: &mut Watch, shortages: &[Shortage]) {
    let now = shared.clock.now();
    let has = |resources: &[&str]| shortages.iter().any(|it| resources.contains(&it.resource()));
    let pressure = shared::Pressure {
        memory: watch.memory.observe(has(&["memory"]), now),
        disk: watch.disk.observe(has(&["ephemeral-storage", "inodes"]), now),
        pids: watch.pids.observe(has(&["pids"]), now),
    };
    let mut reported = shared.pressure.lock();
    if *reported != pressure {
        *reported = pressure;
        shared.node_changed.notify_one();
    }
}

/// Removes what nobody needs, and if that cannot help, ends one pod.
async fn relieve(shared: &Shared, shortage: &Shortage) {
    let resource = shortage.resource();
    let text = format!("Attempting to reclaim {resource}");
    let reason = "EvictionThresholdMet";
    shared.events.about(&subject(shared), EventKind::Warning, reason, text);
    if shortage.is_of_disk() && image_gc::remove_unused(shared).await > 0 {
        return;
    }
    if !end_one(shared, shortage).await {
        tracing::warn!(resource, "too little is left, and no pod can be ended");
    }
}

/// Ends the pod that has to go; whether there is one.
async fn end_one(shared: &Shared, shortage: &Shortage) -> bool {
    let pods = active(shared);
    let Some(usages) = usages(shared, &pods, shortage.is_of_disk()).await else { return false };
    let layers = image_gc::layer_disk(shared).await;
    let all = pods.iter().zip(&usages);
    let candidates: Vec<Candidate<'_>> =
        all.map(|(pod, usage)| Candidate { pod, usage: usage.as_ref() }).collect();
    let Some(victim) = victim::victim(shortage, layers, &candidates) else { return false };
    evict(shared, victim.pod, Cause::Node, victim::message(shortage, &victim));
    true
}

/// What each pod uses, files only where they matter; `None`: the runtime does not tell.
async fn usages(
    shared: &Shared,
    pods: &[Arc<Pod>],
    with_files: bool,
) -> Option<Vec<Option<PodUsage>>> {
    let listed = shared.runtime.list_pod_sandbox_stats(&PodSandboxStatsFilter::default()).await;
    let all = listed.inspect_err(|error| tracing::warn!(%error, "cannot measure pods")).ok()?;
    let mut usages = Vec::new();
    for pod in pods {
        let stats = usage::find(&all, pod);
        usages.push(match stats {
            Some(stats) if with_files => {
                Some(usage::measured(&shared.config, pod, Some(stats)).await)
            }
            stats => stats.map(usage::shown),
        });
    }
    Some(usages)
}

/// The pods that have neither ended nor been told to.
fn active(shared: &Shared) -> Vec<Arc<Pod>> {
    let mut pods = shared.pods.list();
    pods.retain(|pod| {
        !pod::is_finished(pod)
            && pod.metadata.deletion_timestamp.is_none()
            && !is_ending(shared, pod)
    });
    pods
}

/// Whether the worker knows of an end that the API does not have yet.
fn is_ending(shared: &Shared, pod: &Pod) -> bool {
    shared.registry.get(pod::uid(pod)).is_some_and(|signals| {
        matches!(signals.status.lock().phase.as_deref(), Some("Succeeded" | "Failed"))
    })
}

fn evict(shared: &Shared, pod: &Pod, cause: Cause, message: String) {
    let Some(signals) = shared.registry.get(pod::uid(pod)) else { return };
    shared.events.pod(pod, EventKind::Warning, "Evicted", message.clone());
    let verdict = Verdict { cause, reason: "Evicted".to_owned(), message };
    *signals.verdict.lock() = Some(pods::Sentence { verdict, grace_s: EVICTION_GRACE_S });
    signals.wake.notify_one();
}

/// Ends the pods that take more local storage than they may, for as long as the kubelet runs. Those without limits
/// are not measured.
pub(crate) async fn watch_limits(shared: Arc<Shared>) {
    loop {
        shared.clock.sleep(STORAGE_LIMIT_PERIOD).await;
        for pod in active(&shared) {
            let limits = StorageLimits::of(&pod);
            if limits.is_empty() {
                continue;
            }
            if let Some(message) = exceeded(&shared, &pod, &limits).await {
                evict(&shared, &pod, Cause::Pod, message);
            }
        }
    }
}

async fn exceeded(shared: &Shared, pod: &Pod, limits: &StorageLimits) -> Option<String> {
    let filter = PodSandboxStatsFilter {
        label_selector: pod_labels(pod::uid(pod)),
        ..PodSandboxStatsFilter::default()
    };
    let listed = shared.runtime.list_pod_sandbox_stats(&filter).await;
    let stats = listed.inspect_err(|error| {
        tracing::warn!(pod = %pod::described(pod), %error, "cannot measure a pod");
    });
    let stats = stats.ok()?;
    let used = usage::measured(&shared.config, pod, usage::find(&stats, pod)).await;
    limits.exceeded(&used, image_gc::layer_disk(shared).await)
}
