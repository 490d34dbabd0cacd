//! Volumes, as containers see them.

use std::time::Duration;

use serde_json::json;

use crate::testing::{Bench, is_ready};

fn mounted(bench: &Bench, container_path: &str) -> std::path::PathBuf {
    let (_, config) = bench.runtime.container("a").unwrap();
    let mount = config.mounts.iter().find(|it| it.container_path == container_path);
    mount.unwrap().host_path.clone().into()
}

fn read(bench: &Bench, container_path: &str, file: &str) -> String {
    std::fs::read_to_string(mounted(bench, container_path).join(file)).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn volumes_hold_what_they_should_and_follow_changes() {
    let bench = Bench::start().await;
    bench.api.put(
        "configmaps",
        json!({"metadata": {"name": "m", "namespace": "ns"},
        "data": {"k": "v1"}}),
    );
    bench.api.put(
        "secrets",
        json!({"metadata": {"name": "s", "namespace": "ns"},
        "data": {"p": "c2VjcmV0"}}),
    );
    bench.pod(json!({
        "containers": [{"name": "a", "image": "image:1", "volumeMounts": [
            {"name": "m", "mountPath": "/m"}, {"name": "s", "mountPath": "/s"},
            {"name": "e", "mountPath": "/e", "subPath": "x/y"},
            {"name": "d", "mountPath": "/d"}, {"name": "t", "mountPath": "/t"}]}],
        "volumes": [
            {"name": "m", "configMap": {"name": "m"}},
            {"name": "s", "secret": {"secretName": "s"}},
            {"name": "e", "emptyDir": {}},
            {"name": "d", "downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "t", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                {"configMap": {"name": "m"}},
                {"downwardAPI": {"items": [
                    {"path": "ip", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}],
    }));
    bench.until("ready", is_ready).await;
    assert_eq!(read(&bench, "/m", "k"), "v1");
    assert_eq!(read(&bench, "/s", "p"), "secret");
    assert!(mounted(&bench, "/e").ends_with("x/y") && mounted(&bench, "/e").is_dir());
    assert_eq!(read(&bench, "/t", "ip"), "ns");
    let first = read(&bench, "/t", "token");
    assert!(first.starts_with("token-"));
    let hosts = std::fs::read_to_string(mounted(&bench, "/etc/hosts")).unwrap();
    assert!(hosts.contains("10.42.0.1\tp\n"), "{hosts}");

    bench.api.edit("configmaps", "ns", "m", |it| it["data"]["k"] = json!("v2"));
    bench.api.edit("pods", "ns", "p", |it| it["metadata"]["labels"] = json!({"l": "1"}));
    let changed = || {
        read(&bench, "/m", "k") == "v2"
            && read(&bench, "/t", "k") == "v2"
            && read(&bench, "/d", "labels") == "l=\"1\""
    };
    for _ in 0..100 {
        if changed() {
            break;
        }
        bench.clock.sleep(Duration::from_millis(10)).await;
    }
    assert!(changed());
    // Four fifths of an hour later there is another token.
    bench.clock.sleep(Duration::from_secs(2885)).await;
    assert_ne!(read(&bench, "/t", "token"), first);
}

#[tokio::test(start_paused = true)]
async fn a_missing_volume_is_told_and_found_when_it_appears() {
    let bench = Bench::start().await;
    bench.pod(json!({
        "containers": [{"name": "a", "image": "image:1",
            "volumeMounts": [{"name": "m", "mountPath": "/m"}]}],
        "volumes": [{"name": "m", "configMap": {"name": "m"}}],
    }));
    let text = "FailedMount: MountVolume.SetUp failed for volume \"m\" : configmap \"m\" not found";
    bench.until("told", |_| bench.events().iter().any(|it| it == text)).await;
    assert!(bench.runtime.sandboxes().is_empty());
    bench.api.put("configmaps", json!({"metadata": {"name": "m", "namespace": "ns"}, "data": {}}));
    bench.until("ready", is_ready).await;
}

#[tokio::test(start_paused = true)]
async fn claims_lead_to_volumes_of_the_node() {
    let bench = Bench::start().await;
    let data = bench.directory.path().join("data");
    bench.api.put(
        "persistentvolumeclaims",
        json!({"metadata": {"name": "c", "namespace": "ns"},
        "spec": {"volumeName": "v"}, "status": {"phase": "Pending"}}),
    );
    bench.api.put(
        "persistentvolumes",
        json!({"metadata": {"name": "v"},
        "spec": {"hostPath": {"path": data, "type": "DirectoryOrCreate"}}}),
    );
    bench.pod(json!({
        "containers": [{"name": "a", "image": "image:1",
            "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}]}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
    }));
    bench.until("told", |_| bench.events().iter().any(|it| it.contains("PVC is not bound"))).await;
    bench
        .api
        .edit("persistentvolumeclaims", "ns", "c", |it| it["status"]["phase"] = json!("Bound"));
    bench.until("ready", is_ready).await;
    assert_eq!(mounted(&bench, "/v"), data);
}
