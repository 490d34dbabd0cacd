//! Watching memory, disk and process ids, and ending pods when there is too little.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::EventKind;
use cri::PodSandboxStatsFilter;
use k8s_openapi::api::core::v1::Pod;
use podlife::eviction::{self, Candidate, Level, Levels, Pressure, Shortage, Signal};
use podlife::status::Verdict;
use podlife::{pod, quantity};

use crate::limits::{EVICTION_PERIOD, VOLUME_USAGE_PERIOD};
use crate::node::{machine, subject};
use crate::shared::{self, Shared};
use crate::{image_gc, pods};

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
    let has = |resources: &[&str]| shortages.iter().any(|it| resources.contains(&it.resource));
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
    let resource = shortage.resource;
    let text = format!("Attempting to reclaim {resource}");
    let reason = "EvictionThresholdMet";
    shared.events.about(&subject(shared), EventKind::Warning, reason, text);
    if matches!(resource, "ephemeral-storage" | "inodes")
        && image_gc::remove_unused(shared).await > 0
    {
        return;
    }
    let Some(victim) = choose(shared).await else {
        tracing::warn!(resource, "too little is left, and no pod can be ended");
        return;
    };
    let message = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        shortage.threshold, shortage.available
    );
    evict(shared, &victim, message, Some(0));
}

async fn choose(shared: &Shared) -> Option<Arc<Pod>> {
    let stats = shared.runtime.list_pod_sandbox_stats(&PodSandboxStatsFilter::default()).await;
    let stats = stats.unwrap_or_default();
    let used = |uid: &str| {
        let found = stats.iter().find(|it| it.attributes.metadata.uid == uid);
        let bytes = found.and_then(|it| it.memory.as_ref()?.working_set_bytes);
        bytes.and_then(|it| i64::try_from(it).ok()).unwrap_or(0)
    };
    let all: Vec<Arc<Pod>> = shared
        .pods
        .list()
        .into_iter()
        .filter(|it| !pod::is_finished(it) && it.metadata.deletion_timestamp.is_none())
        .collect();
    let candidates: Vec<Candidate<'_>> =
        all.iter().map(|it| Candidate { pod: it, memory_bytes: used(pod::uid(it)) }).collect();
    let uid = pod::uid(eviction::victim(&candidates)?).to_owned();
    all.into_iter().find(|it| pod::uid(it) == uid)
}

fn evict(shared: &Shared, pod: &Pod, message: String, grace: Option<i64>) {
    let Some(signals) = shared.registry.get(pod::uid(pod)) else { return };
    shared.events.pod(pod, EventKind::Warning, "Evicted", message.clone());
    let verdict = Verdict { reason: "Evicted".to_owned(), message };
    *signals.verdict.lock() = Some(pods::Sentence { verdict, grace });
    signals.wake.notify_one();
}

/// Measures volumes with a limit and ends the pods whose volumes have grown beyond it.
pub(crate) async fn watch_volumes(shared: Arc<Shared>) {
    loop {
        shared.clock.sleep(VOLUME_USAGE_PERIOD).await;
        for pod in shared.pods.list() {
            for (volume, limit, path) in limited(&shared, &pod) {
                let bytes = quantity::value(&limit);
                let measuring = tokio::task::spawn_blocking(move || used_bytes(&path));
                let used = measuring.await.unwrap_or(0);
                if bytes > 0 && used > u64::try_from(bytes).unwrap_or(u64::MAX) {
                    let message = format!(
                        "Usage of EmptyDir volume \"{volume}\" exceeds the limit \"{}\". ",
                        limit.0
                    );
                    evict(&shared, &pod, message, None);
                }
            }
        }
    }
}

type Limited = (String, k8s_openapi::apimachinery::pkg::api::resource::Quantity, PathBuf);

/// The volumes on disk that have a limit.
fn limited(shared: &Shared, pod: &Pod) -> Vec<Limited> {
    if pod::is_finished(pod) || pod.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let directory = shared.config.pod_directory(pod::uid(pod));
    let volumes = pod::spec(pod).volumes.iter().flatten();
    volumes
        .filter_map(|volume| {
            let source = volume.empty_dir.as_ref()?;
            let limit = source.size_limit.clone()?;
            let on_disk = source.medium.as_deref().unwrap_or_default().is_empty();
            let path = directory.join("volumes/kubernetes.io~empty-dir").join(&volume.name);
            on_disk.then(|| (volume.name.clone(), limit, path))
        })
        .collect()
}

/// Bytes that a directory takes on disk, links not followed.
fn used_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.path().symlink_metadata().ok()?)))
        .map(|(path, metadata)| {
            let below = if metadata.is_dir() { used_bytes(&path) } else { 0 };
            metadata.blocks() * 512 + below
        })
        .sum()
}
