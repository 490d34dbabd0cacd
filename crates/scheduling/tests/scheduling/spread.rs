//! Topology spread constraints.

use std::sync::Arc;

use crate::cluster::cluster;
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Service, ServiceSpec, TopologySpreadConstraint},
};
use scheduling::build::{NodeBuilder, PodBuilder, node, pod, selector};

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
const HARD: &str = "DoNotSchedule";
const SOFT: &str = "ScheduleAnyway";
const WEB: &[(&str, &str)] = &[("app", "web")];
const NO: &str = "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints.";

fn nodes() -> Vec<NodeBuilder> {
    let roomy = |name: &str| node(name).capacity(&[("cpu", "8"), ("memory", "8Gi")]);
    vec![roomy("a1").zone("a"), roomy("a2").zone("a"), roomy("b1").zone("b")]
}

fn webs(on: &[&str]) -> Vec<PodBuilder> {
    let web = |(index, node): (usize, &&str)| pod(&format!("w{index}")).labels(WEB).on(node);
    on.iter().enumerate().map(web).collect()
}

fn web() -> PodBuilder {
    pod("p").labels(WEB)
}

#[test]
fn hard_constraints_bound_the_skew() {
    for (placed, pod, expected) in [
        (webs(&["a1"]), web().spread(1, ZONE, HARD, WEB), vec!["b1"]),
        (webs(&["a1", "b1"]), web().spread(1, ZONE, HARD, WEB), vec!["a1", "a2", "b1"]),
        (webs(&["a1", "a2"]), web().spread(2, ZONE, HARD, WEB), vec!["b1"]),
        (webs(&["a1"]), web().spread(2, ZONE, HARD, WEB), vec!["a1", "a2", "b1"]),
        (webs(&["a1"]), web().spread(1, HOST, HARD, WEB), vec!["a2", "b1"]),
        // The zone wants b, the host wants anything but a1.
        (webs(&["a1"]), web().spread(1, ZONE, HARD, WEB).spread(1, HOST, HARD, WEB), vec!["b1"]),
        // A pod that its own constraint does not select only watches.
        (webs(&["a1"]), pod("p").spread(1, ZONE, HARD, WEB), vec!["a1", "a2", "b1"]),
        (
            webs(&["a1", "a1"]),
            web().spread(1, ZONE, HARD, WEB).node_selector(ZONE, "a"),
            vec!["a1", "a2"],
        ),
    ] {
        assert_eq!(cluster(nodes()).with(placed).nodes(&pod.namespace("default")), expected);
    }
}

#[test]
fn contradictory_constraints_fit_nowhere() {
    let pod = web().spread(1, ZONE, HARD, WEB).spread(1, HOST, HARD, WEB);
    let mut cluster = cluster(nodes()).with(webs(&["a1", "b1", "b1"]));
    // Zones allow a only, hosts allow a2 only.
    assert_eq!(cluster.nodes(&pod), ["a2"]);
    let pod = pod.spread(1, "absent", HARD, WEB);
    assert_eq!(
        cluster.reasons(pod),
        "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints \
         (missing required label)."
    );
}

#[test]
fn too_few_domains_count_as_an_empty_one() {
    let constraint = |domains| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: ZONE.to_owned(),
        when_unsatisfiable: HARD.to_owned(),
        label_selector: Some(selector(WEB)),
        min_domains: Some(domains),
        ..TopologySpreadConstraint::default()
    };
    let mut cluster = cluster(nodes()).with(webs(&["a1", "b1"]));
    assert_eq!(cluster.nodes(&web().spread_constraint(constraint(2))).len(), 3);
    assert_eq!(cluster.reasons(web().spread_constraint(constraint(3))), NO);
}

#[test]
fn node_policies_decide_which_domains_count() {
    let constraint = |affinity: &str, taints: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: ZONE.to_owned(),
        when_unsatisfiable: HARD.to_owned(),
        label_selector: Some(selector(WEB)),
        node_affinity_policy: Some(affinity.to_owned()),
        node_taints_policy: Some(taints.to_owned()),
        ..TopologySpreadConstraint::default()
    };
    let in_a = |constraint| web().node_selector(ZONE, "a").spread_constraint(constraint);
    let mut cluster = cluster(nodes()).with(webs(&["a1"]));
    assert_eq!(cluster.nodes(&in_a(constraint("Honor", "Ignore"))), ["a1", "a2"]);
    assert!(cluster.reasons(in_a(constraint("Ignore", "Ignore"))).contains("spread constraints"));
    cluster.snapshot.set_node(nodes().remove(2).taint("k", "v", "NoSchedule").finish());
    let ignoring = web().spread_constraint(constraint("Honor", "Ignore"));
    let honouring = web().spread_constraint(constraint("Honor", "Honor"));
    assert!(cluster.reasons(ignoring).contains("spread constraints"));
    assert_eq!(cluster.nodes(&honouring), ["a1", "a2"]);
}

#[test]
fn label_keys_narrow_the_selector() {
    let constraint = TopologySpreadConstraint {
        max_skew: 1,
        topology_key: ZONE.to_owned(),
        when_unsatisfiable: HARD.to_owned(),
        label_selector: Some(selector(WEB)),
        match_label_keys: Some(vec!["version".to_owned()]),
        ..TopologySpreadConstraint::default()
    };
    let mut cluster = cluster(nodes()).with(webs(&["a1", "a1"]));
    let new = web().labels(&[("version", "2")]).spread_constraint(constraint);
    assert_eq!(cluster.nodes(&new).len(), 3);
}

#[test]
fn soft_constraints_prefer_the_emptier_domain() {
    let mut cluster = cluster(nodes()).with(webs(&["a1", "a1", "b1"]));
    assert_eq!(cluster.nodes(&web().spread(1, HOST, SOFT, WEB)), ["a2"]);
    assert_eq!(cluster.nodes(&web().spread(1, ZONE, SOFT, WEB)), ["b1"]);
}

#[test]
fn leaving_pods_do_not_count() {
    let leaving = pod("w").labels(WEB).on("a1").terminating(crate::cluster::now());
    let mut cluster = cluster(nodes()).with([leaving]);
    assert_eq!(cluster.nodes(&web().spread(1, ZONE, HARD, WEB)).len(), 3);
}

#[test]
fn replicas_and_service_backends_are_spread_by_default() {
    let mut cluster = cluster(nodes()).with(webs(&["a1", "a1", "b1"]));
    assert!(cluster.nodes(&web()).len() > 1, "nothing says that they belong together");
    let mut service = Service {
        spec: Some(ServiceSpec { selector: selector(WEB).match_labels, ..ServiceSpec::default() }),
        ..Service::default()
    };
    service.metadata.name = Some("web".to_owned());
    service.metadata.namespace = Some("default".to_owned());
    cluster.snapshot.services.set(Arc::new(service));
    // a2 is the emptier host, b the emptier zone: as good as each other, and both better than a1.
    assert_eq!(cluster.nodes(&web()), ["a2", "b1"]);
    cluster.snapshot.services.remove("default", "web");
    let mut set = ReplicaSet::default();
    set.metadata.name = Some("web".to_owned());
    set.metadata.namespace = Some("default".to_owned());
    set.spec.selector = selector(WEB);
    cluster.snapshot.replica_sets.set(Arc::new(set));
    assert_eq!(cluster.nodes(&web().owner("apps/v1", "ReplicaSet", "web")), ["a2", "b1"]);
}
