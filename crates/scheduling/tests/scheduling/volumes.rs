//! Claims, volumes, classes and drivers.

use std::sync::Arc;

use crate::cluster::{Cluster, cluster};
use k8s_openapi::{
    api::{
        core::v1::{PersistentVolume, PersistentVolumeClaim},
        storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass},
    },
    jiff::Timestamp,
};
use scheduling::{
    build::{node, pod},
    framework::Cycle,
    plugins::volume_binding,
};
use serde_json::{Value, json};

const ZONE: &str = "topology.kubernetes.io/zone";

fn object<K: for<'d> serde::Deserialize<'d>>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn claim(name: &str, class: &str, volume: &str, size: &str) -> Arc<PersistentVolumeClaim> {
    let bound = if volume.is_empty() {
        json!({})
    } else {
        json!({"pv.kubernetes.io/bind-completed": "yes"})
    };
    object(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "annotations": bound},
        "spec": {"storageClassName": class, "volumeName": volume, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}}},
    }))
}

fn volume(name: &str, class: &str, size: &str, zone: &str) -> Arc<PersistentVolume> {
    let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": ZONE, "operator": "In", "values": [zone]}]}]}});
    object(json!({
        "metadata": {"name": name},
        "spec": {"storageClassName": class, "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
            "nodeAffinity": if zone.is_empty() { Value::Null } else { affinity },
            "csi": {"driver": "disk.example.com", "volumeHandle": name}},
        "status": {"phase": "Available"},
    }))
}

fn class(name: &str, mode: &str, provisioner: &str) -> Arc<StorageClass> {
    object(
        json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode}),
    )
}

fn two_zones() -> Cluster {
    let roomy = |name: &str| node(name).capacity(&[("cpu", "4"), ("memory", "8Gi")]);
    let mut cluster = cluster([roomy("a").zone("a"), roomy("b").zone("b")]);
    cluster.snapshot.classes.set(class(
        "late",
        "WaitForFirstConsumer",
        "kubernetes.io/no-provisioner",
    ));
    cluster.snapshot.classes.set(class("made", "WaitForFirstConsumer", "disk.example.com"));
    cluster.snapshot.classes.set(class("now", "Immediate", "disk.example.com"));
    cluster
}

#[test]
fn a_missing_claim_holds_the_pod() {
    assert_eq!(
        two_zones().answer(pod("p").claim("c")),
        "0/2 nodes are available: persistentvolumeclaim \"c\" not found. preemption: 0/2 nodes are \
         available: 2 Preemption is not helpful for scheduling."
    );
}

#[test]
fn an_unbound_immediate_claim_holds_the_pod() {
    let mut cluster = two_zones();
    cluster.snapshot.claims.set(claim("c", "now", "", "1Gi"));
    assert_eq!(
        cluster.answer(pod("p").claim("c")),
        "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/2 \
         nodes are available: 2 Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_bound_claim_pulls_the_pod_to_its_volume() {
    let mut cluster = two_zones();
    cluster.snapshot.claims.set(claim("c", "late", "v", "1Gi"));
    assert_eq!(
        cluster.reasons(pod("p").claim("c")),
        "0/2 nodes are available: persistentvolume \"v\" not found."
    );
    cluster.snapshot.volumes.set(volume("v", "late", "1Gi", "b"));
    assert_eq!(cluster.nodes(&pod("p").claim("c")), ["b"]);
    cluster.snapshot.remove_node("b");
    assert_eq!(
        cluster.reasons(pod("p").claim("c")),
        "0/1 nodes are available: 1 node(s) had volume node affinity conflict."
    );
}

#[test]
fn a_late_claim_takes_the_smallest_volume_that_the_node_reaches() {
    let mut cluster = two_zones();
    cluster.snapshot.claims.set(claim("c", "late", "", "2Gi"));
    assert_eq!(
        cluster.reasons(pod("p").claim("c")),
        "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."
    );
    for (name, size, zone) in [("small", "1Gi", "a"), ("large", "9Gi", "b"), ("fit", "2Gi", "b")] {
        cluster.snapshot.volumes.set(volume(name, "late", size, zone));
    }
    assert_eq!(cluster.nodes(&pod("p").claim("c")), ["b"]);
    let pod = pod("p").claim("c").info();
    let cycle = Cycle { snapshot: &cluster.snapshot, pod: &pod, now: Timestamp::UNIX_EPOCH };
    let plan = volume_binding::plan(cycle, cluster.snapshot.node("b").unwrap()).unwrap();
    assert_eq!(plan.bindings[0].0.metadata.name.as_deref(), Some("fit"));
    assert!(plan.provisions.is_empty());
}

#[test]
fn two_claims_of_a_pod_do_not_share_a_volume() {
    let mut cluster = two_zones();
    cluster.snapshot.claims.set(claim("c1", "late", "", "1Gi"));
    cluster.snapshot.claims.set(claim("c2", "late", "", "2Gi"));
    cluster.snapshot.volumes.set(volume("v1", "late", "2Gi", "a"));
    let both = || pod("p").claim("c2").claim("c1");
    assert!(cluster.reasons(both()).contains("didn't find available persistent volumes"));
    cluster.snapshot.volumes.set(volume("v2", "late", "1Gi", "a"));
    assert_eq!(cluster.nodes(&both()), ["a"]);
    let mut assumed = (*volume("v2", "late", "1Gi", "a")).clone();
    assumed.spec.as_mut().unwrap().claim_ref =
        serde_json::from_value(json!({"name": "x", "namespace": "y"})).unwrap();
    cluster.snapshot.volumes.assume(Arc::new(assumed));
    assert!(cluster.reasons(both()).contains("didn't find available persistent volumes"));
    cluster.snapshot.volumes.revert("", "v2");
    assert_eq!(cluster.nodes(&both()), ["a"]);
}

#[test]
fn provisioning_asks_topology_and_space() {
    let mut cluster = two_zones();
    cluster.snapshot.claims.set(claim("c", "made", "", "2Gi"));
    assert_eq!(cluster.nodes(&pod("p").claim("c")), ["a", "b"]);
    let mut class = (*class("made", "WaitForFirstConsumer", "disk.example.com")).clone();
    class.allowed_topologies = serde_json::from_value(
        json!([{"matchLabelExpressions": [{"key": ZONE, "values": ["b"]}]}]),
    )
    .unwrap();
    cluster.snapshot.classes.set(Arc::new(class));
    assert_eq!(cluster.nodes(&pod("p").claim("c")), ["b"]);
    let driver: Arc<CSIDriver> = object(
        json!({"metadata": {"name": "disk.example.com"}, "spec": {"storageCapacity": true}}),
    );
    cluster.snapshot.csi_drivers.set(driver);
    assert_eq!(
        cluster.reasons(pod("p").claim("c")),
        "0/2 nodes are available: 1 node(s) did not have enough free storage, 1 node(s) didn't find \
         available persistent volumes to bind."
    );
    let capacity: Arc<CSIStorageCapacity> = object(json!({
        "metadata": {"name": "b", "namespace": "kube-system"}, "storageClassName": "made",
        "capacity": "3Gi", "nodeTopology": {"matchLabels": {ZONE: "b"}},
    }));
    cluster.snapshot.capacities.set(capacity);
    assert_eq!(cluster.nodes(&pod("p").claim("c")), ["b"]);
}

#[test]
fn a_selected_node_is_kept() {
    let mut cluster = two_zones();
    let mut selected = (*claim("c", "made", "", "2Gi")).clone();
    selected
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(volume_binding::SELECTED_NODE.to_owned(), "b".to_owned());
    cluster.snapshot.claims.set(Arc::new(selected));
    assert_eq!(cluster.nodes(&pod("p").claim("c")), ["b"]);
}

#[test]
fn zone_labels_of_volumes_bind() {
    let mut cluster = two_zones();
    cluster.snapshot.claims.set(claim("c", "late", "v", "1Gi"));
    let mut labelled = (*volume("v", "late", "1Gi", "")).clone();
    labelled
        .metadata
        .labels
        .get_or_insert_default()
        .insert("failure-domain.beta.kubernetes.io/zone".to_owned(), "a__c".to_owned());
    cluster.snapshot.volumes.set(Arc::new(labelled));
    assert_eq!(cluster.nodes(&pod("p").claim("c")), ["a"]);
    cluster.snapshot.remove_node("a");
    assert_eq!(
        cluster.reasons(pod("p").claim("c")),
        "0/1 nodes are available: 1 node(s) had no available volume zone."
    );
}

#[test]
fn a_claim_for_one_pod_is_used_once() {
    let mut cluster = two_zones();
    let mut once = (*claim("c", "late", "v", "1Gi")).clone();
    once.spec.as_mut().unwrap().access_modes = Some(vec!["ReadWriteOncePod".to_owned()]);
    cluster.snapshot.claims.set(Arc::new(once));
    cluster.snapshot.volumes.set(volume("v", "late", "1Gi", ""));
    let mut cluster = cluster.with([pod("x").claim("c").on("a")]);
    assert_eq!(
        cluster.reasons(pod("p").claim("c")),
        "0/2 nodes are available: 2 node has pod using PersistentVolumeClaim with the same name and \
         ReadWriteOncePod access mode."
    );
    assert_eq!(cluster.preempts(pod("p").claim("c").priority(9)), "a: x");
    cluster.snapshot.remove_pod("x");
    assert_eq!(cluster.nodes(&pod("p").claim("c")), ["a", "b"]);
}

#[test]
fn a_disk_is_written_by_one_pod_of_a_node() {
    let disk = |read_only: bool| {
        serde_json::from_value(
            json!({"name": "d", "gcePersistentDisk": {"pdName": "d", "readOnly": read_only}}),
        )
        .unwrap()
    };
    let mut cluster = two_zones().with([pod("x").volume(disk(true)).on("a")]);
    assert_eq!(cluster.nodes(&pod("p").volume(disk(false))), ["b"]);
    assert_eq!(cluster.nodes(&pod("p").volume(disk(true))), ["a", "b"]);
}

#[test]
fn drivers_attach_only_so_many() {
    let mut cluster = two_zones();
    for name in ["c1", "c2"] {
        cluster.snapshot.claims.set(claim(name, "late", &format!("v-{name}"), "1Gi"));
        cluster.snapshot.volumes.set(volume(&format!("v-{name}"), "late", "1Gi", "a"));
    }
    let limits: Arc<CSINode> = object(json!({"metadata": {"name": "a"}, "spec": {"drivers": [
        {"name": "disk.example.com", "nodeID": "a", "allocatable": {"count": 1}}]}}));
    cluster.snapshot.csi_nodes.set(limits);
    assert_eq!(cluster.nodes(&pod("p").claim("c1")), ["a"]);
    let mut cluster = cluster.with([pod("x").claim("c1").on("a")]);
    assert_eq!(
        cluster.nodes(&pod("p").claim("c1")),
        ["a"],
        "the same volume is not attached twice"
    );
    assert_eq!(
        cluster.reasons(pod("p").claim("c2")),
        "0/2 nodes are available: 1 node(s) exceed max volume count, 1 node(s) had volume node affinity conflict."
    );
}
