//! Pods that take more of the disk than they may, or than there is.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use serde_json::{Value, json};

use super::server::get;
use crate::testing::{Bench, is_ready, phase};

const MEBI: usize = 1 << 20;

/// A pod with a container `a` of that limit, which has an `emptyDir` `v` of another.
fn limited(container: Option<&str>, volume: Option<&str>) -> Value {
    let limits = container.map(|limit| json!({"ephemeral-storage": limit}));
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    json!({
        "containers": [{"name": "a", "image": "image:1", "resources": {"limits": limits},
            "volumeMounts": mounts}],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": volume}}],
    })
}

fn volume(bench: &Bench, uid: &str) -> PathBuf {
    let volumes = format!("kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/v");
    bench.directory.path().join(volumes)
}

fn logs(bench: &Bench) -> PathBuf {
    bench.directory.path().join("log/pods/ns_p_uid-p/a")
}

fn write(directory: PathBuf, bytes: usize) {
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("0.log"), vec![1; bytes]).unwrap();
}

async fn evicted(bench: &Bench, name: &str) -> PodStatus {
    let pod = bench.until_of(name, "evicted", |pod| phase(pod) == "Failed").await;
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    status
}

fn disruption(status: &PodStatus) -> Option<&PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == "DisruptionTarget")
}

#[tokio::test(start_paused = true)]
async fn a_container_beyond_its_limit_ends_the_pod() {
    let bench = Bench::start().await;
    let mut spec = limited(Some("5Mi"), None);
    let other = json!({"name": "b", "image": "image:1",
        "resources": {"limits": {"ephemeral-storage": "20Mi"}}});
    spec["containers"].as_array_mut().unwrap().push(other);
    bench.pod(spec);
    bench.until("ready", is_ready).await;
    bench.runtime.fill_layer("a", 3 << 20);
    write(logs(&bench), 3 * MEBI);
    let status = evicted(&bench, "p").await;
    let message = "Container a exceeded its local ephemeral storage limit \"5Mi\". ";
    assert_eq!(status.message.as_deref(), Some(message));
    assert_eq!(disruption(&status), None, "nobody but the pod itself is to blame");
    bench.until("told", |_| bench.events().contains(&format!("Evicted: {message}"))).await;
    bench
        .until_runtime("stopped in a second", |it| it.log().contains(&"stop a 1".to_owned()))
        .await;
}

#[tokio::test(start_paused = true)]
async fn layers_logs_and_volumes_together_count_for_the_pod() {
    let bench = Bench::start().await;
    bench.pod(limited(Some("5Mi"), None));
    bench.until("ready", is_ready).await;
    bench.runtime.fill_layer("a", 2 << 20);
    write(logs(&bench), 2 * MEBI);
    write(volume(&bench, "uid-p"), 2 * MEBI);
    let status = evicted(&bench, "p").await;
    let message = "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ";
    assert_eq!(status.message.as_deref(), Some(message));
}

#[tokio::test(start_paused = true)]
async fn the_summary_shows_all_local_storage() {
    let bench = Bench::start().await;
    let mut spec = limited(None, None);
    let memory = json!({"name": "m", "emptyDir": {"medium": "Memory"}});
    spec["volumes"].as_array_mut().unwrap().push(memory);
    bench.pod(spec);
    bench.until("ready", is_ready).await;
    bench.runtime.fill_layer("a", 2 << 20);
    write(logs(&bench), 4 * MEBI);
    write(volume(&bench, "uid-p"), 8 * MEBI);
    write(volume(&bench, "uid-p").with_file_name("m"), 16 * MEBI);
    let (_, summary) = get(&bench, "/stats/summary").await;
    let summary: Value = serde_json::from_str(&summary).unwrap();
    // Directories and the hosts file take little more.
    let mebibytes = |path: &str| summary.pointer(path).and_then(Value::as_u64).unwrap() >> 20;
    assert_eq!(mebibytes("/pods/0/ephemeral-storage/usedBytes"), 14);
    assert_eq!(mebibytes("/pods/0/containers/0/rootfs/usedBytes"), 2);
    assert_eq!(mebibytes("/pods/0/containers/0/logs/usedBytes"), 4);
    // The log, the volume with a file in it, and the hosts file.
    assert_eq!(summary["pods"][0]["ephemeral-storage"]["inodesUsed"], 4);
}

#[tokio::test(start_paused = true)]
async fn a_volume_beyond_its_limit_ends_the_pod() {
    let bench = Bench::start().await;
    bench.pod(limited(None, Some("64Ki")));
    bench.until("ready", is_ready).await;
    write(volume(&bench, "uid-p"), MEBI);
    let status = evicted(&bench, "p").await;
    let message = "Usage of EmptyDir volume \"v\" exceeds the limit \"64Ki\". ";
    assert_eq!(status.message.as_deref(), Some(message));
}

#[tokio::test(start_paused = true)]
async fn pods_without_limits_are_not_measured() {
    let bench = Bench::start().await;
    bench.pod(limited(None, None));
    bench.until("ready", is_ready).await;
    bench.runtime.fill_layer("a", 1 << 40);
    bench.clock.sleep(Duration::from_secs(120)).await;
    assert_eq!(bench.runtime.measured(), 0);
    assert!(is_ready(&bench.api.pod("p").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn when_the_disk_is_short_the_largest_user_of_it_goes() {
    // Less than all of it is always free.
    let bench = Bench::start_under("nodefs.available<100%".parse().unwrap()).await;
    for name in ["p", "q", "r"] {
        bench.named_pod(name, limited(None, None));
    }
    for name in ["p", "q", "r"] {
        bench.until_of(name, "ready", is_ready).await;
    }
    write(volume(&bench, "uid-q"), MEBI);
    bench.until_of("q", "evicted", |pod| phase(pod) == "Failed").await;
    let left = ["p", "r"].map(|name| phase(&bench.api.pod(name).unwrap()));
    assert_eq!(left, ["Running", "Running"]);
    let status = evicted(&bench, "q").await;
    let message = status.message.clone().unwrap();
    let start = "The node was low on resource: ephemeral-storage. Threshold quantity: ";
    assert!(message.starts_with(start) && message.contains(", available: "), "{message}");
    let condition = disruption(&status).unwrap();
    assert_eq!(condition.reason.as_deref(), Some("TerminationByKubelet"));
    assert_eq!((condition.status.as_str(), &condition.message), ("True", &status.message));
}
