//! Which changes let a waiting pod be tried again, plugin by plugin.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};
use scheduling::{
    PodInfo, Profile,
    build::{NodeBuilder, PodBuilder, node, pod},
    event::{Change, Event},
};
use serde_json::{Value, json};

const ZONE: &str = "topology.kubernetes.io/zone";
const WEB: &[(&str, &str)] = &[("app", "web")];

fn wakes(plugin: &'static str, event: &Event<'_>, pod: &PodInfo) -> bool {
    Profile::default().wakes([&plugin], event, pod)
}

fn nodes(
    plugin: &'static str,
    pod: PodBuilder,
    old: Option<NodeBuilder>,
    new: Option<NodeBuilder>,
) -> bool {
    let (old, new): (Option<Arc<Node>>, Option<Arc<Node>>) =
        (old.map(NodeBuilder::finish), new.map(NodeBuilder::finish));
    let change = Change { old: old.as_deref(), new: new.as_deref() };
    wakes(plugin, &Event::Node(change), &pod.info())
}

fn assigned(
    plugin: &'static str,
    pod: PodBuilder,
    old: Option<PodBuilder>,
    new: Option<PodBuilder>,
) -> bool {
    let (old, new) = (old.map(PodBuilder::info), new.map(PodBuilder::info));
    let change = Change { old: old.as_deref(), new: new.as_deref() };
    wakes(plugin, &Event::AssignedPod(change), &pod.info())
}

fn itself(plugin: &'static str, old: PodBuilder, new: PodBuilder) -> bool {
    let (old, new) = (old.info(), new.info());
    wakes(plugin, &Event::WaitingPod(Change { old: Some(&old), new: Some(&new) }), &new)
}

fn p() -> PodBuilder {
    pod("p")
}

fn n() -> NodeBuilder {
    node("n").capacity(&[("cpu", "4"), ("memory", "8Gi")])
}

#[test]
fn nodes_that_become_usable() {
    for (name, woken, expected) in [
        ("uncordoned", nodes("NodeUnschedulable", p(), Some(n().cordoned()), Some(n())), true),
        (
            "still cordoned",
            nodes("NodeUnschedulable", p(), Some(n().cordoned()), Some(n().cordoned())),
            false,
        ),
        ("new and cordoned", nodes("NodeUnschedulable", p(), None, Some(n().cordoned())), false),
        ("new", nodes("NodeUnschedulable", p(), None, Some(n())), true),
        ("gone", nodes("NodeUnschedulable", p(), Some(n()), None), false),
        ("named node new", nodes("NodeName", p().on("n"), None, Some(n())), true),
        ("named node changed", nodes("NodeName", p().on("n"), Some(n()), Some(n())), false),
        (
            "taint gone",
            nodes("TaintToleration", p(), Some(n().taint("k", "", "NoSchedule")), Some(n())),
            true,
        ),
        (
            "another taint",
            nodes(
                "TaintToleration",
                p(),
                Some(n().taint("k", "", "NoSchedule")),
                Some(n().taint("l", "", "NoExecute")),
            ),
            false,
        ),
        (
            "label given",
            nodes(
                "NodeAffinity",
                p().node_selector("a", "b"),
                Some(n()),
                Some(n().label("a", "b")),
            ),
            true,
        ),
        (
            "label wrong",
            nodes(
                "NodeAffinity",
                p().node_selector("a", "b"),
                Some(n()),
                Some(n().label("a", "c")),
            ),
            false,
        ),
        (
            "matched before",
            nodes(
                "NodeAffinity",
                p().node_selector("a", "b"),
                Some(n().label("a", "b")),
                Some(n().label("a", "b").label("c", "d")),
            ),
            false,
        ),
        (
            "new node has ports",
            nodes("NodePorts", p().host_port("", "TCP", 1), None, Some(n())),
            true,
        ),
    ] {
        assert_eq!(woken, expected, "{name}");
    }
}

#[test]
fn room() {
    let small = || node("n").capacity(&[("cpu", "1"), ("memory", "1Gi")]);
    let wanting = || p().requests("2", "1Gi");
    for (name, woken, expected) in [
        ("large new node", nodes("NodeResourcesFit", wanting(), None, Some(n())), true),
        ("small new node", nodes("NodeResourcesFit", wanting(), None, Some(small())), false),
        ("grown", nodes("NodeResourcesFit", wanting(), Some(small()), Some(n())), true),
        ("same", nodes("NodeResourcesFit", wanting(), Some(n()), Some(n().label("a", "b"))), false),
        (
            "more of something else",
            nodes(
                "NodeResourcesFit",
                p().requests("1", "0"),
                Some(n()),
                Some(n().capacity(&[("memory", "9Gi")])),
            ),
            false,
        ),
        (
            "more pods",
            nodes("NodeResourcesFit", wanting(), Some(n()), Some(n().capacity(&[("pods", "200")]))),
            true,
        ),
        ("a pod gone", assigned("NodeResourcesFit", wanting(), Some(pod("x").on("n")), None), true),
        (
            "a pod come",
            assigned("NodeResourcesFit", wanting(), None, Some(pod("x").on("n"))),
            false,
        ),
        (
            "a pod shrunk",
            assigned(
                "NodeResourcesFit",
                wanting(),
                Some(pod("x").requests("2", "0")),
                Some(pod("x").requests("1", "0")),
            ),
            true,
        ),
        (
            "shrunk in what nobody wants",
            assigned(
                "NodeResourcesFit",
                p().requests("1", "0"),
                Some(pod("x").requests("1", "9")),
                Some(pod("x").requests("1", "8")),
            ),
            false,
        ),
        ("itself shrunk", itself("NodeResourcesFit", wanting(), p().requests("1", "1Gi")), true),
        ("itself labelled", itself("NodeResourcesFit", wanting(), wanting().labels(WEB)), false),
    ] {
        assert_eq!(woken, expected, "{name}");
    }
}

#[test]
fn other_pods() {
    let port = |number| pod("x").host_port("", "TCP", number).on("n");
    let web = || pod("x").labels(WEB).on("n");
    for (name, woken, expected) in [
        (
            "port freed",
            assigned("NodePorts", p().host_port("", "TCP", 1), Some(port(1)), None),
            true,
        ),
        (
            "other port freed",
            assigned("NodePorts", p().host_port("", "TCP", 1), Some(port(2)), None),
            false,
        ),
        (
            "company came",
            assigned("InterPodAffinity", p().near(ZONE, WEB), None, Some(web())),
            true,
        ),
        (
            "others came",
            assigned("InterPodAffinity", p().near(ZONE, WEB), None, Some(pod("x").on("n"))),
            false,
        ),
        ("enemy left", assigned("InterPodAffinity", p().apart(ZONE, WEB), Some(web()), None), true),
        (
            "enemy came",
            assigned("InterPodAffinity", p().apart(ZONE, WEB), None, Some(web())),
            false,
        ),
        (
            "hermit left",
            assigned("InterPodAffinity", p().labels(WEB), Some(pod("x").apart(ZONE, WEB)), None),
            true,
        ),
        (
            "relabelled to company",
            assigned("InterPodAffinity", p().near(ZONE, WEB), Some(pod("x")), Some(web())),
            true,
        ),
    ] {
        assert_eq!(woken, expected, "{name}");
    }
}

#[test]
fn spread_and_claims() {
    let web = || pod("x").labels(WEB).on("n");
    let spread = || p().labels(WEB).spread(1, ZONE, "DoNotSchedule", WEB);
    for (name, woken, expected) in [
        ("counted pod left", assigned("PodTopologySpread", spread(), Some(web()), None), true),
        ("counted pod came", assigned("PodTopologySpread", spread(), None, Some(web())), true),
        (
            "uncounted pod came",
            assigned("PodTopologySpread", spread(), None, Some(pod("x"))),
            false,
        ),
        (
            "in another namespace",
            assigned("PodTopologySpread", spread(), None, Some(web().namespace("other"))),
            false,
        ),
        ("domain came", nodes("PodTopologySpread", spread(), None, Some(n().zone("a"))), true),
        ("no domain came", nodes("PodTopologySpread", spread(), None, Some(n())), false),
        ("domain left", nodes("PodTopologySpread", spread(), Some(n().zone("a")), None), true),
        (
            "node relabelled",
            nodes("InterPodAffinity", p().near(ZONE, WEB), Some(n()), Some(n().zone("a"))),
            true,
        ),
        (
            "node unchanged",
            nodes("InterPodAffinity", p().near(ZONE, WEB), Some(n()), Some(n())),
            false,
        ),
        (
            "claim freed",
            assigned("VolumeRestrictions", p().claim("c"), Some(pod("x").claim("c")), None),
            true,
        ),
        (
            "other claim freed",
            assigned("VolumeRestrictions", p().claim("c"), Some(pod("x").claim("d")), None),
            false,
        ),
        (
            "volume detached",
            assigned("NodeVolumeLimits", p().claim("c"), Some(pod("x").claim("d")), None),
            true,
        ),
        (
            "itself tolerates",
            itself("TaintToleration", p(), p().tolerates("k", "Exists", "", "")),
            true,
        ),
    ] {
        assert_eq!(woken, expected, "{name}");
    }
}

fn object<K: for<'d> serde::Deserialize<'d>>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

#[test]
fn storage() {
    let waiting = p().claim("c").info();
    let claim: PersistentVolumeClaim =
        object(json!({"metadata": {"name": "c", "namespace": "default"}}));
    let other: PersistentVolumeClaim =
        object(json!({"metadata": {"name": "d", "namespace": "default"}}));
    let volume: PersistentVolume = object(json!({"metadata": {"name": "v"}, "spec": {}}));
    let zoned: PersistentVolume =
        object(json!({"metadata": {"name": "v", "labels": {ZONE: "a"}}, "spec": {}}));
    let late: StorageClass = object(
        json!({"metadata": {"name": "s"}, "provisioner": "x", "volumeBindingMode": "WaitForFirstConsumer"}),
    );
    let topologies = json!([{"matchLabelExpressions": [{"key": ZONE, "values": ["a"]}]}]);
    let narrowed: StorageClass = object(json!({"metadata": {"name": "s"}, "provisioner": "x",
        "volumeBindingMode": "WaitForFirstConsumer", "allowedTopologies": topologies}));
    let csi_node: CSINode = object(json!({"metadata": {"name": "n"}, "spec": {"drivers": []}}));
    let tracking: CSIDriver =
        object(json!({"metadata": {"name": "x"}, "spec": {"storageCapacity": true}}));
    let trusting: CSIDriver = object(json!({"metadata": {"name": "x"}, "spec": {}}));
    let capacity = |size: &str| -> CSIStorageCapacity {
        object(
            json!({"metadata": {"name": "k", "namespace": "d"}, "storageClassName": "s", "capacity": size}),
        )
    };
    let (small, large) = (capacity("1Gi"), capacity("2Gi"));
    let attachment: VolumeAttachment = object(json!({"metadata": {"name": "a"},
        "spec": {"attacher": "x", "nodeName": "n", "source": {}}}));
    fn added<K>(new: &K) -> Change<'_, K> {
        Change { old: None, new: Some(new) }
    }
    fn changed<'a, K>(old: &'a K, new: &'a K) -> Change<'a, K> {
        Change { old: Some(old), new: Some(new) }
    }
    for (name, plugin, event, expected) in [
        ("own claim", "VolumeBinding", Event::Claim(added(&claim)), true),
        ("own claim changed", "VolumeBinding", Event::Claim(changed(&claim, &claim)), true),
        ("other claim", "VolumeBinding", Event::Claim(added(&other)), false),
        ("volume", "VolumeBinding", Event::Volume(added(&volume)), true),
        ("class", "VolumeBinding", Event::Class(added(&late)), true),
        ("class narrowed", "VolumeBinding", Event::Class(changed(&late, &narrowed)), true),
        ("class unchanged", "VolumeBinding", Event::Class(changed(&late, &late)), false),
        ("more capacity", "VolumeBinding", Event::Capacity(changed(&small, &large)), true),
        ("same capacity", "VolumeBinding", Event::Capacity(changed(&small, &small)), false),
        ("driver trusted", "VolumeBinding", Event::CsiDriver(changed(&tracking, &trusting)), true),
        ("driver tracked", "VolumeBinding", Event::CsiDriver(changed(&trusting, &tracking)), false),
        ("driver on node", "NodeVolumeLimits", Event::CsiNode(added(&csi_node)), true),
        (
            "detached",
            "NodeVolumeLimits",
            Event::Attachment(Change { old: Some(&attachment), new: None }),
            true,
        ),
        ("attached", "NodeVolumeLimits", Event::Attachment(added(&attachment)), false),
        ("zone given", "VolumeZone", Event::Volume(changed(&volume, &zoned)), true),
        ("zone same", "VolumeZone", Event::Volume(changed(&zoned, &zoned)), false),
        ("own claim", "VolumeZone", Event::Claim(added(&claim)), true),
        ("late class", "VolumeZone", Event::Class(added(&late)), true),
        ("own claim new", "VolumeRestrictions", Event::Claim(added(&claim)), true),
        ("own claim changed", "VolumeRestrictions", Event::Claim(changed(&claim, &claim)), false),
    ] {
        assert_eq!(wakes(plugin, &event, &waiting), expected, "{plugin}: {name}");
    }
}
