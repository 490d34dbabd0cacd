//! Pod affinity and anti-affinity.

use crate::cluster::cluster;
use k8s_openapi::api::core::v1::Namespace;
use scheduling::build::{NodeBuilder, node, pod};
use std::sync::Arc;

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

fn nodes() -> Vec<NodeBuilder> {
    let roomy = |name: &str| node(name).capacity(&[("cpu", "4"), ("memory", "8Gi")]);
    vec![roomy("a1").zone("a"), roomy("a2").zone("a"), roomy("b1").zone("b"), roomy("x")]
}

#[test]
fn required_terms() {
    let db = || pod("db").labels(&[("app", "db")]).on("a1");
    let together = "0/4 nodes are available: 4 node(s) didn't match pod affinity rules.";
    for (pod, expected) in [
        (pod("p").near(ZONE, &[("app", "db")]), vec!["a1", "a2"]),
        (pod("p").near(HOST, &[("app", "db")]), vec!["a1"]),
        (pod("p").near("absent", &[("app", "db")]), vec![together]),
        (pod("p").near(ZONE, &[("app", "none")]), vec![together]),
        // Nobody is there yet, but the pod is what it looks for.
        (pod("p").labels(&[("app", "new")]).near(ZONE, &[("app", "new")]), vec!["a1", "a2", "b1"]),
        (pod("p").near(ZONE, &[("app", "db")]).namespace("other"), vec![together]),
        (pod("p").apart(ZONE, &[("app", "db")]), vec!["b1", "x"]),
        (pod("p").apart(HOST, &[("app", "db")]), vec!["a2", "b1", "x"]),
        (pod("p").near(ZONE, &[("app", "db")]).apart(HOST, &[("app", "db")]), vec!["a2"]),
    ] {
        let mut cluster = cluster(nodes()).with([db()]);
        let answers: Vec<String> = cluster
            .nodes(&pod)
            .iter()
            .map(|answer| answer.split(" preemption").next().unwrap().to_owned())
            .collect();
        assert_eq!(answers, expected, "{:?}", pod.finish().spec.unwrap().affinity);
    }
}

#[test]
fn placed_pods_keep_others_away() {
    let hermit = pod("hermit").apart(ZONE, &[("noisy", "yes")]).on("a1");
    let mut cluster = cluster(nodes()).with([hermit]);
    assert_eq!(cluster.nodes(&pod("p").labels(&[("noisy", "yes")])), ["b1", "x"]);
    assert_eq!(cluster.nodes(&pod("p").labels(&[("noisy", "no")])).len(), 4);
    cluster.snapshot.remove_node("b1");
    cluster.snapshot.remove_node("x");
    assert_eq!(
        cluster.reasons(pod("p").labels(&[("noisy", "yes")])),
        "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules."
    );
    cluster.snapshot.remove_pod("hermit");
    assert_eq!(cluster.nodes(&pod("p").labels(&[("noisy", "yes")])), ["a1", "a2"]);
}

#[test]
fn own_anti_affinity_names_itself() {
    let mut cluster =
        cluster([node("a1").zone("a")]).with([pod("x").labels(&[("app", "db")]).on("a1")]);
    assert_eq!(
        cluster.reasons(pod("p").apart(ZONE, &[("app", "db")])),
        "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."
    );
}

#[test]
fn namespaces_are_selected_by_label() {
    use k8s_openapi::api::core::v1::{Affinity, PodAffinityTerm, PodAntiAffinity};
    let mut seeker = pod("p").finish();
    let term = PodAffinityTerm {
        topology_key: ZONE.to_owned(),
        label_selector: Some(scheduling::build::selector(&[("app", "db")])),
        namespace_selector: Some(scheduling::build::selector(&[("team", "red")])),
        ..PodAffinityTerm::default()
    };
    seeker.spec.as_mut().unwrap().affinity = Some(Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    });
    let seeker = scheduling::PodInfo::new(Arc::new(seeker));
    let mut cluster = cluster([nodes().remove(0)])
        .with([pod("db").namespace("red-1").labels(&[("app", "db")]).on("a1")]);
    let placed = |decision| matches!(decision, scheduling::Decision::Place(_));
    assert!(placed(cluster.decide(&seeker)));
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("red-1".to_owned());
    namespace.metadata.labels = scheduling::build::selector(&[("team", "red")]).match_labels;
    cluster.snapshot.namespaces.set(Arc::new(namespace));
    assert!(!placed(cluster.decide(&seeker)));
}

#[test]
fn preferences_of_both_sides_count() {
    let db = || pod("db").labels(&[("app", "db")]).on("a1");
    for (placed, pod, expected) in [
        (db(), pod("p").likes(10, HOST, &[("app", "db")]), vec!["a1"]),
        (db(), pod("p").likes(-10, ZONE, &[("app", "db")]), vec!["b1", "x"]),
        (db().likes(10, HOST, &[("app", "web")]), pod("p").labels(&[("app", "web")]), vec!["a1"]),
        (
            db().likes(-10, ZONE, &[("app", "web")]),
            pod("p").labels(&[("app", "web")]),
            vec!["b1", "x"],
        ),
        // A required term of a placed pod is a weak wish for the pod that it speaks of.
        (db().near(HOST, &[("app", "web")]), pod("p").labels(&[("app", "web")]), vec!["a1"]),
    ] {
        assert_eq!(cluster(nodes()).with([placed]).nodes(&pod), expected);
    }
}

#[test]
fn many_topology_keys_and_ever_new_values_still_count() {
    let mut cluster = cluster([]);
    for round in 0..200 {
        let labelled = node("a").label("rack", &round.to_string()).label(&format!("k{round}"), "v");
        cluster.snapshot.set_node(labelled.finish());
        cluster.snapshot.set_pod(
            pod("x").labels(&[("app", "db")]).apart(&format!("k{round}"), &[("app", "web")]).info(),
            "a",
        );
    }
    let web = || pod("p").labels(&[("app", "web")]);
    assert!(cluster.reasons(web()).contains("existing pods anti-affinity"));
    assert!(
        cluster.reasons(pod("p").apart("rack", &[("app", "db")])).contains("pod anti-affinity")
    );
    cluster.snapshot.set_node(node("a").finish());
    assert_eq!(cluster.reasons(web()), "a");
}
