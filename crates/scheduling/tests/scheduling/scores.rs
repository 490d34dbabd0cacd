//! What makes one node better than another.

use crate::cluster::cluster;
use scheduling::build::{node, pod};
use serde_json::json;

const GIB: i64 = 1 << 30;

#[test]
fn emptier_nodes_are_better() {
    let roomy = |name: &str| node(name).capacity(&[("cpu", "4"), ("memory", "8Gi")]);
    let mut cluster =
        cluster([roomy("a"), roomy("b")]).with([pod("x").requests("1", "2Gi").on("a")]);
    assert_eq!(cluster.nodes(&pod("p").requests("1", "2Gi")), ["b"]);
    assert_eq!(cluster.nodes(&pod("p")), ["b"]);
}

#[test]
fn fuller_nodes_are_better_when_configured() {
    let roomy = |name: &str| node(name).capacity(&[("cpu", "4"), ("memory", "8Gi")]);
    let strategy = |strategy: serde_json::Value| {
        json!({"pluginConfig": [{"name": "NodeResourcesFit", "args": {
            "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "NodeResourcesFitArgs",
            "scoringStrategy": strategy}}]})
    };
    let most = json!({"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 1}]});
    let curve = json!({"type": "RequestedToCapacityRatio", "resources": [{"name": "cpu"}],
        "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]}});
    for packing in [most, curve] {
        let mut cluster = cluster([roomy("a"), roomy("b")])
            .with([pod("x").requests("1", "2Gi").on("a")])
            .config(strategy(packing));
        assert_eq!(cluster.nodes(&pod("p").requests("1", "2Gi")), ["a"]);
    }
}

#[test]
fn even_use_is_better() {
    let nodes = [
        node("cpu").capacity(&[("cpu", "10"), ("memory", "10Gi")]),
        node("memory").capacity(&[("cpu", "10"), ("memory", "10Gi")]),
    ];
    let placed =
        [pod("x").requests("4", "0").on("cpu"), pod("y").requests("0", "4Gi").on("memory")];
    let mut cluster = cluster(nodes).with(placed);
    assert_eq!(cluster.nodes(&pod("p").requests("4", "0")), ["memory"]);
}

#[test]
fn images_that_are_there_are_better() {
    let nodes = (0..3).map(|index| {
        let node = node(&format!("n{index}")).capacity(&[("cpu", "4"), ("memory", "8Gi")]);
        if index < 2 { node.image("big:latest", 2 * GIB) } else { node }
    });
    let mut cluster = cluster(nodes);
    assert_eq!(cluster.nodes(&pod("p").container("big", &[])), ["n0", "n1"]);
    assert_eq!(cluster.nodes(&pod("p").container("unknown", &[])).len(), 3);
    cluster.snapshot.remove_node("n0");
    cluster.snapshot.remove_node("n1");
    assert_eq!(cluster.nodes(&pod("p").container("big", &[])), ["n2"]);
}

#[test]
fn weights_and_switches_are_obeyed() {
    let nodes = || [node("a").label("disk", "ssd"), node("b")];
    let prefers = || pod("p").prefers_node(1, "disk", "ssd");
    assert_eq!(cluster(nodes()).nodes(&prefers()), ["a"]);
    let off = json!({"plugins": {"score": {"disabled": [{"name": "NodeAffinity"}]}}});
    assert_eq!(cluster(nodes()).config(off).nodes(&prefers()), ["a", "b"]);
    let all_off = json!({"plugins": {"multiPoint": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeName"}]}}});
    let mut cluster = cluster([node("a").cordoned()]).config(all_off);
    assert_eq!(cluster.nodes(&pod("p")), ["a"]);
}

#[test]
fn configuration_that_makes_no_sense_is_refused() {
    let profile = |config: serde_json::Value| {
        scheduling::Profile::new(&serde_json::from_value(config).unwrap())
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        profile(json!({"plugins": {"score": {"enabled": [{"name": "Nonsense"}]}}})),
        "there is no scheduler plugin \"Nonsense\""
    );
    assert!(
        profile(json!({"pluginConfig": [{"name": "NodeResourcesFit", "args": {"odd": 1}}]}))
            .starts_with("arguments of scheduler plugin \"NodeResourcesFit\": unknown field `odd`")
    );
}
