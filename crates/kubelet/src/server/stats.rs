//! `/stats/summary`: what node, pods and containers use.

use std::path::Path;

use cri::{ContainerStats, PodSandboxStats, PodSandboxStatsFilter};
use jiff::Timestamp;
use podlife::eviction::usage::{DiskUsage, PodUsage};
use podlife::observed::{LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID};
use podlife::pod;
use serde_json::{Map, Value, json};

use super::RequestError;
use crate::node::machine;
use crate::{Kubelet, usage};

/// Everything at one moment.
pub(super) async fn summary(kubelet: &Kubelet) -> Result<Value, RequestError> {
    let stats = pod_stats(kubelet).await?;
    let shared = &kubelet.shared;
    let now = shared.clock.now();
    let mut pods = Vec::new();
    for stats in &stats {
        pods.push(pod(kubelet, stats, now).await);
    }
    Ok(json!({"node": node(kubelet, now), "pods": pods}))
}

/// The runtime's figures of all working sandboxes.
pub(super) async fn pod_stats(kubelet: &Kubelet) -> Result<Vec<PodSandboxStats>, RequestError> {
    let filter = PodSandboxStatsFilter::default();
    let listed = kubelet.shared.runtime.list_pod_sandbox_stats(&filter).await;
    listed.map_err(|error| RequestError::internal(&error))
}

/// Name, namespace and UID of the pod that figures are about.
pub(super) fn identity(stats: &PodSandboxStats) -> [String; 3] {
    let label = |key: &str, other: &str| {
        let found = stats.attributes.labels.get(key).filter(|it| !it.is_empty());
        found.cloned().unwrap_or_else(|| other.to_owned())
    };
    let metadata = &stats.attributes.metadata;
    [
        label(LABEL_POD_NAME, &metadata.name),
        label(LABEL_POD_NAMESPACE, &metadata.namespace),
        label(LABEL_POD_UID, &metadata.uid),
    ]
}

fn time(nanos: i64, now: Timestamp) -> String {
    let at =
        if nanos > 0 { Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(now) } else { now };
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn object(pairs: Vec<(&str, Option<Value>)>) -> Value {
    let present = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(present.collect::<Map<String, Value>>())
}

fn number(value: Option<u64>) -> Option<Value> {
    value.map(Value::from)
}

fn cpu(usage: Option<&cri::CpuUsage>, now: Timestamp) -> Option<Value> {
    let usage = usage?;
    Some(object(vec![
        ("time", Some(json!(time(usage.timestamp, now)))),
        ("usageNanoCores", number(usage.usage_nano_cores)),
        ("usageCoreNanoSeconds", number(usage.usage_core_nano_seconds)),
    ]))
}

fn memory(usage: Option<&cri::MemoryUsage>, now: Timestamp) -> Option<Value> {
    let usage = usage?;
    Some(object(vec![
        ("time", Some(json!(time(usage.timestamp, now)))),
        ("availableBytes", number(usage.available_bytes)),
        ("usageBytes", number(usage.usage_bytes)),
        ("workingSetBytes", number(usage.working_set_bytes)),
        ("rssBytes", number(usage.rss_bytes)),
        ("pageFaults", number(usage.page_faults)),
        ("majorPageFaults", number(usage.major_page_faults)),
    ]))
}

fn network(usage: Option<&cri::NetworkUsage>, now: Timestamp) -> Option<Value> {
    let usage = usage?;
    let interface = |it: &cri::NetworkInterfaceUsage| {
        json!({"name": it.name, "rxBytes": it.rx_bytes, "rxErrors": it.rx_errors,
            "txBytes": it.tx_bytes, "txErrors": it.tx_errors})
    };
    let mut value = usage.default_interface.as_ref().map_or_else(|| json!({}), interface);
    value["time"] = json!(time(usage.timestamp, now));
    let all = usage.default_interface.iter().chain(&usage.interfaces).map(interface);
    value["interfaces"] = all.collect();
    Some(value)
}

/// What of the disk that `path` is on is used: all of it, or a part that was measured.
fn disk(path: &Path, part: Option<DiskUsage>, now: Timestamp) -> Option<Value> {
    let disk = machine::disk(path).ok()?;
    let used = part.unwrap_or_else(|| DiskUsage {
        bytes: disk.bytes.saturating_sub(disk.bytes_free),
        inodes: disk.inodes.saturating_sub(disk.inodes_free),
    });
    Some(object(vec![
        ("time", Some(json!(time(0, now)))),
        ("availableBytes", Some(disk.bytes_free.into())),
        ("capacityBytes", Some(disk.bytes.into())),
        ("usedBytes", Some(used.bytes.into())),
        ("inodesFree", Some(disk.inodes_free.into())),
        ("inodes", Some(disk.inodes.into())),
        ("inodesUsed", Some(used.inodes.into())),
    ]))
}

fn node(kubelet: &Kubelet, now: Timestamp) -> Value {
    let config = &kubelet.shared.config;
    let (most, running) = machine::process_ids().unwrap_or((0, 0));
    let total = u64::try_from(kubelet.shared.place.node.memory_bytes).unwrap_or(0);
    let available = machine::memory_available().ok().and_then(|it| u64::try_from(it).ok());
    let working = available.map(|available| total.saturating_sub(available));
    object(vec![
        ("nodeName", Some(json!(config.node_name))),
        (
            "startTime",
            machine::boot_time(now).map(|at| json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())),
        ),
        (
            "cpu",
            machine::cpu_nanos()
                .map(|nanos| json!({"time": time(0, now), "usageCoreNanoSeconds": nanos})),
        ),
        (
            "memory",
            Some(object(vec![
                ("time", Some(json!(time(0, now)))),
                ("availableBytes", number(available)),
                ("usageBytes", number(working)),
                ("workingSetBytes", number(working)),
            ])),
        ),
        ("fs", disk(&config.root, None, now)),
        ("runtime", Some(json!({"imageFs": disk(&config.root, None, now)}))),
        ("rlimit", Some(json!({"time": time(0, now), "maxpid": most, "curproc": running}))),
    ])
}

fn container(stats: &ContainerStats, used: &PodUsage, root: &Path, now: Timestamp) -> Value {
    let name = &stats.attributes.metadata.name;
    let used = used.container(name);
    let part = |part: Option<DiskUsage>| disk(root, Some(part?), now);
    object(vec![
        ("name", Some(json!(name))),
        ("cpu", cpu(stats.cpu.as_ref(), now)),
        ("memory", memory(stats.memory.as_ref(), now)),
        ("rootfs", part(used.and_then(|used| used.layer))),
        ("logs", part(used.and_then(|used| used.logs))),
    ])
}

async fn pod(kubelet: &Kubelet, stats: &PodSandboxStats, now: Timestamp) -> Value {
    let [name, namespace, uid] = identity(stats);
    let config = &kubelet.shared.config;
    let root = &config.root;
    let known = kubelet.shared.pods.get(&namespace, &name).filter(|pod| pod::uid(pod) == uid);
    let used = match known {
        Some(pod) => usage::measured(config, &pod, Some(stats)).await,
        None => usage::shown(stats),
    };
    let started = kubelet.shared.registry.get(&uid).and_then(|signals| {
        let start = signals.status.lock().start_time.clone()?;
        Some(json!(start))
    });
    let containers: Vec<Value> =
        stats.containers.iter().map(|stats| container(stats, &used, root, now)).collect();
    object(vec![
        ("podRef", Some(json!({"name": name, "namespace": namespace, "uid": uid}))),
        ("startTime", started),
        ("containers", Some(Value::Array(containers))),
        ("cpu", cpu(stats.cpu.as_ref(), now)),
        ("memory", memory(stats.memory.as_ref(), now)),
        ("network", network(stats.network.as_ref(), now)),
        ("ephemeral-storage", disk(root, Some(used.storage()), now)),
        ("process_stats", stats.process_count.map(|count| json!({"process_count": count}))),
    ])
}
