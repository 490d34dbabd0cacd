//! Filters that look at one node at a time, and the messages that they add up to.

use crate::cluster::cluster;
use expect_test::{Expect, expect};
use scheduling::build::{NodeBuilder, PodBuilder, node, pod};

fn check(nodes: Vec<NodeBuilder>, placed: Vec<PodBuilder>, pod: PodBuilder, expected: Expect) {
    expected.assert_eq(&cluster(nodes).with(placed).answer(pod));
}

fn roomy(name: &str) -> NodeBuilder {
    node(name).capacity(&[("cpu", "4"), ("memory", "8Gi")])
}

#[test]
fn without_nodes_nothing_is_available() {
    check(vec![], vec![], pod("p"), expect!["no nodes available to schedule pods"]);
}

#[test]
fn the_message_counts_reasons_over_nodes() {
    check(
        vec![roomy("a").taint("k", "v", "NoSchedule"), roomy("b"), roomy("c")],
        vec![],
        pod("p").requests("5", "1Gi"),
        expect![
            "0/3 nodes are available: 1 node(s) had untolerated taint {k: v}, 2 Insufficient cpu. \
             preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, \
             2 No preemption victims found for incoming pod."
        ],
    );
}

#[test]
fn resources_must_be_free() {
    check(vec![roomy("a")], vec![], pod("p").requests("4", "8Gi"), expect!["a"]);
    let mut full = cluster([roomy("a")]).with([pod("x").requests("3", "7Gi").on("a")]);
    for (pod, expected) in [
        (pod("p").requests("1", "1Gi"), "a"),
        (pod("p").requests("1001m", "1Gi"), "0/1 nodes are available: 1 Insufficient cpu."),
        (
            pod("p").requests("2", "2Gi"),
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.",
        ),
        (
            pod("p").container("i", &[("example.com/gpu", "1")]),
            "0/1 nodes are available: 1 Insufficient example.com/gpu.",
        ),
        (pod("p").container("i", &[("example.com/gpu", "0")]), "a"),
        (
            pod("p").container("i", &[("ephemeral-storage", "1")]),
            "0/1 nodes are available: 1 Insufficient ephemeral-storage.",
        ),
        (
            pod("p").requests("99999999999999999999", "9Ei"),
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.",
        ),
    ] {
        assert_eq!(full.reasons(pod), expected);
    }
}

#[test]
fn pods_are_counted() {
    let one = node("a").capacity(&[("cpu", "4"), ("memory", "8Gi"), ("pods", "1")]);
    let mut full = cluster([one]).with([pod("x").on("a")]);
    assert_eq!(full.reasons(pod("p")), "0/1 nodes are available: 1 Too many pods.");
}

#[test]
fn a_node_that_reports_nothing_takes_nothing() {
    let mut silent = cluster([node("a").capacity(&[("pods", "0")])]);
    assert_eq!(silent.reasons(pod("p")), "0/1 nodes are available: 1 Too many pods.");
}

#[test]
fn ignored_resources_are_somebody_elses() {
    let config = serde_json::json!({"pluginConfig": [{"name": "NodeResourcesFit", "args": {
        "ignoredResources": ["example.com/a"], "ignoredResourceGroups": ["example.org"],
    }}]});
    let mut cluster = cluster([roomy("a")]).config(config);
    let wants = |name: &str| pod("p").container("i", &[(name, "1")]);
    assert_eq!(cluster.reasons(wants("example.com/a")), "a");
    assert_eq!(cluster.reasons(wants("example.org/b")), "a");
    assert_eq!(
        cluster.reasons(wants("example.com/b")),
        "0/1 nodes are available: 1 Insufficient example.com/b."
    );
}

#[test]
fn cordoned_nodes_take_only_who_tolerates_it() {
    let nodes = || vec![roomy("a").cordoned()];
    check(
        nodes(),
        vec![],
        pod("p"),
        expect![
            "0/1 nodes are available: 1 node(s) were unschedulable. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
    let tolerant =
        pod("p").tolerates("node.kubernetes.io/unschedulable", "Exists", "", "NoSchedule");
    check(nodes(), vec![], tolerant, expect!["a"]);
}

#[test]
fn taints_repel() {
    let mut cluster = cluster([
        roomy("a").taint("k", "v", "NoSchedule"),
        roomy("b").taint("k", "", "NoExecute").taint("soft", "", "PreferNoSchedule"),
    ]);
    assert_eq!(
        cluster.reasons(pod("p")),
        "0/2 nodes are available: 1 node(s) had untolerated taint {k: v}, \
         1 node(s) had untolerated taint {k: }."
    );
    assert_eq!(cluster.reasons(pod("p").tolerates("k", "Equal", "v", "")), "a");
    assert_eq!(cluster.nodes(&pod("p").tolerates("", "Exists", "", "")), ["a", "b"]);
}

#[test]
fn soft_taints_are_avoided() {
    let mut cluster = cluster([roomy("a").taint("k", "v", "PreferNoSchedule"), roomy("b")]);
    assert_eq!(cluster.nodes(&pod("p")), ["b"]);
    assert_eq!(cluster.nodes(&pod("p").tolerates("k", "Exists", "", "")), ["a", "b"]);
}

#[test]
fn node_affinity_is_demanded_and_preferred() {
    let nodes = || [roomy("a").label("disk", "ssd"), roomy("b").label("disk", "hdd"), roomy("c")];
    let no = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.";
    for (pod, expected) in [
        (pod("p").node_selector("disk", "ssd"), vec!["a"]),
        (pod("p").node_selector("disk", "tape"), vec![no]),
        (pod("p").node_affinity("disk", "Exists", &[]), vec!["a", "b"]),
        (pod("p").node_affinity("disk", "NotIn", &["ssd"]), vec!["b", "c"]),
        (
            pod("p").node_affinity("disk", "In", &["ssd"]).node_affinity("x", "Exists", &[]),
            vec!["a"],
        ),
        (pod("p").node_selector("disk", "ssd").node_affinity("disk", "In", &["hdd"]), vec![no]),
        (pod("p").node_names(&["c"]), vec!["c"]),
        (pod("p").prefers_node(1, "disk", "hdd"), vec!["b"]),
        (pod("p").prefers_node(1, "disk", "hdd").prefers_node(5, "disk", "ssd"), vec!["a"]),
    ] {
        let mut cluster = cluster(nodes());
        let answers: Vec<String> = cluster
            .nodes(&pod)
            .into_iter()
            .map(|answer| answer.split(" preemption").next().unwrap().to_owned())
            .collect();
        assert_eq!(answers, expected, "{:?}", pod.finish().spec);
    }
}

#[test]
fn a_pod_for_named_nodes_says_which_plugin_ruled_the_others_out() {
    check(
        vec![roomy("a").cordoned(), roomy("b"), roomy("c")],
        vec![],
        pod("p").node_names(&["a"]),
        expect![
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        ],
    );
    check(
        vec![roomy("b")],
        vec![],
        pod("p").node_names(&["gone"]),
        expect![
            "0/1 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
    check(
        vec![roomy("b")],
        vec![],
        pod("p").node_names(&[]),
        expect![
            "0/1 nodes are available: pod affinity terms conflict. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn host_ports_are_taken_once() {
    let taken = || vec![pod("x").host_port("127.0.0.1", "TCP", 80).on("a")];
    let busy =
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
    for (pod, expected) in [
        (pod("p").host_port("127.0.0.1", "TCP", 80), busy),
        (pod("p").host_port("0.0.0.0", "TCP", 80), busy),
        (pod("p").host_port("", "", 80), busy),
        (pod("p").host_port("127.0.0.2", "TCP", 80), "a"),
        (pod("p").host_port("127.0.0.1", "UDP", 80), "a"),
        (pod("p").host_port("127.0.0.1", "TCP", 81), "a"),
    ] {
        assert_eq!(cluster([roomy("a")]).with(taken()).reasons(pod), expected);
    }
}

#[test]
fn a_bound_pod_fits_its_node_only() {
    let mut cluster = cluster([roomy("a"), roomy("b")]);
    assert_eq!(cluster.nodes(&pod("p").on("b")), ["b"]);
    assert_eq!(
        cluster.reasons(pod("p").on("gone")),
        "0/2 nodes are available: 2 node(s) didn't match the requested node name."
    );
}

#[test]
fn an_unreadable_pod_is_not_placed() {
    let mut cluster = cluster([roomy("a")]);
    assert_eq!(
        cluster.reasons(pod("p").requests("1", "lots")),
        "0/1 nodes are available: parsing pod: \"lots\" is not a quantity."
    );
}

#[test]
fn the_snapshot_forgets_what_goes() {
    let mut cluster = cluster([roomy("a")]).with([pod("x").requests("4", "1Gi").on("a")]);
    let wanting = || pod("p").requests("4", "1Gi");
    assert!(cluster.reasons(wanting()).contains("Insufficient cpu"));
    cluster.snapshot.remove_node("a");
    assert_eq!(cluster.reasons(wanting()), "no nodes available to schedule pods");
    cluster.snapshot.set_node(roomy("a").finish());
    assert!(
        cluster.reasons(wanting()).contains("Insufficient cpu"),
        "pods come back with their node"
    );
    cluster.snapshot.remove_pod("x");
    cluster.snapshot.remove_pod("x");
    assert_eq!(cluster.reasons(wanting()), "a");
    cluster.snapshot.set_pod(pod("early").requests("4", "1Gi").on("b").info(), "b");
    cluster.snapshot.set_node(roomy("b").finish());
    assert_eq!(cluster.nodes(&wanting()), ["a"]);
    cluster.snapshot.set_pod(pod("early").requests("4", "1Gi").on("a").info(), "a");
    assert_eq!(cluster.nodes(&wanting()), ["b"]);
}

#[test]
fn large_clusters_are_searched_in_turns() {
    let mut cluster = cluster((0..1000).map(|index| roomy(&format!("n{index}"))));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        match cluster.decide(&pod("p").requests("1", "1Gi").info()) {
            scheduling::Decision::Place(placement) => {
                assert_eq!(placement.feasible, 420);
                seen.insert(placement.node);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.len() > 100, "{}", seen.len());
}
