//! Who has to leave.

use std::sync::Arc;

use crate::cluster::{cluster, now};
use k8s_openapi::{
    api::{
        core::v1::PodCondition,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus},
    },
    jiff::ToSpan,
};
use scheduling::{
    Decision,
    build::{NodeBuilder, PodBuilder, node, pod, selector},
};

fn small(name: &str) -> NodeBuilder {
    node(name).capacity(&[("cpu", "2"), ("memory", "8Gi")])
}

fn one(name: &str, priority: i32, node: &str) -> PodBuilder {
    pod(name).requests("1", "1").priority(priority).on(node)
}

fn important() -> PodBuilder {
    pod("p").requests("1", "1").priority(100)
}

fn budget(name: &str, labels: &[(&str, &str)], allowed: i32) -> Arc<PodDisruptionBudget> {
    let mut budget = PodDisruptionBudget {
        spec: Some(PodDisruptionBudgetSpec {
            selector: Some(selector(labels)),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: Some(PodDisruptionBudgetStatus {
            disruptions_allowed: Some(allowed),
            ..PodDisruptionBudgetStatus::default()
        }),
        ..PodDisruptionBudget::default()
    };
    budget.metadata.name = Some(name.to_owned());
    budget.metadata.namespace = Some("default".to_owned());
    Arc::new(budget)
}

#[test]
fn only_as_many_as_needed_leave_and_the_least_important_first() {
    let mut cluster = cluster([small("a")]).with([one("low", 1, "a"), one("lower", 0, "a")]);
    assert_eq!(cluster.preempts(important()), "a: lower");
    assert_eq!(cluster.preempts(pod("p").requests("2", "1").priority(100)), "a: low lower");
}

#[test]
fn among_equals_the_younger_leaves() {
    let hours = |hours: i64| now() - hours.hours();
    let placed = [one("old", 0, "a").started(hours(5)), one("young", 0, "a").started(hours(1))];
    assert_eq!(cluster([small("a")]).with(placed).preempts(important()), "a: young");
}

#[test]
fn the_cheapest_node_is_chosen() {
    let hours = |hours: i64| now() - hours.hours();
    for (name, placed, expected) in [
        (
            "lowest highest priority",
            vec![one("a1", 9, "a"), one("a2", 9, "a"), one("b1", 8, "b"), one("b2", 8, "b")],
            "b: b2 b1",
        ),
        (
            "smallest sum",
            vec![one("a1", 9, "a"), one("a2", 2, "a"), one("b1", 9, "b"), one("b2", 1, "b")],
            "b: b1 b2",
        ),
        (
            "fewest victims",
            vec![
                one("a1", 9, "a"),
                one("a2", 9, "a"),
                pod("b1").requests("2", "1").priority(9).on("b"),
            ],
            "b: b1",
        ),
        (
            "latest start",
            vec![
                pod("a1").requests("2", "1").on("a").started(hours(9)),
                pod("b1").requests("2", "1").on("b").started(hours(1)),
            ],
            "b: b1",
        ),
    ] {
        let mut cluster = cluster([small("a"), small("b")]).with(placed);
        let answer = cluster.preempts(pod("p").requests("2", "1").priority(100));
        let sorted = |text: &str| {
            let mut words: Vec<_> = text.split(' ').map(str::to_owned).collect();
            words.sort();
            words
        };
        assert_eq!(sorted(&answer), sorted(expected), "{name}");
    }
}

#[test]
fn budgets_are_broken_last() {
    let guarded = |name: &str, node: &str| one(name, 0, node).labels(&[("app", "db")]);
    let mut here = cluster([small("a")]).with([guarded("db", "a"), one("web", 5, "a")]);
    here.snapshot.budgets.set(budget("db", &[("app", "db")], 0));
    assert_eq!(here.preempts(important()), "a: web", "more important, but unprotected");
    assert_eq!(here.preempts(pod("p").requests("2", "1").priority(100)), "a: web db");
    here.snapshot.budgets.set(budget("db", &[("app", "db")], 1));
    assert_eq!(here.preempts(important()), "a: db");

    let mut there = cluster([small("a"), small("b")]).with([
        guarded("a1", "a"),
        guarded("a2", "a"),
        one("b1", 50, "b"),
        one("b2", 50, "b"),
    ]);
    there.snapshot.budgets.set(budget("db", &[("app", "db")], 0));
    assert!(there.preempts(important()).starts_with("b: "));
}

#[test]
fn equals_and_betters_stay() {
    let mut cluster = cluster([small("a")]).with([one("x", 100, "a"), one("y", 101, "a")]);
    assert_eq!(
        cluster.preempts(important()),
        "0/1 nodes are available: 1 No preemption victims found for incoming pod."
    );
}

#[test]
fn what_cannot_help_is_not_done() {
    let mut cluster = cluster([small("a").cordoned(), small("b")]).with([one("x", 0, "b")]);
    assert_eq!(
        cluster.preempts(pod("p").requests("3", "1").priority(100)),
        "0/2 nodes are available: 1 Insufficient cpu, 1 Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_pod_may_decline_to_preempt() {
    let mut cluster = cluster([small("a")]).with([one("x", 0, "a"), one("y", 0, "a")]);
    assert_eq!(
        cluster.answer(important().never_preempts()),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to \
         preemptionPolicy=Never."
    );
}

#[test]
fn a_pod_waits_for_the_victims_it_has() {
    let mut leaving = one("x", 0, "a").terminating(now()).finish();
    leaving.status.get_or_insert_default().conditions = Some(vec![PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("PreemptionByScheduler".to_owned()),
        ..PodCondition::default()
    }]);
    let mut cluster = cluster([small("a")]).with([one("y", 0, "a")]);
    let leaving = Arc::new(scheduling::PodInfo::new(Arc::new(leaving)));
    cluster.snapshot.set_pod(leaving, "a");
    assert_eq!(
        cluster.preempts(important().nominated("a")),
        "not eligible due to a terminating pod on the nominated node."
    );
}

#[test]
fn a_nominated_pod_keeps_its_place_from_lesser_ones() {
    let mut cluster = cluster([small("a")]).with([one("x", 0, "a")]);
    let nominated = pod("n").requests("1", "1").priority(50).nominated("a").info();
    cluster.snapshot.nominate(Arc::clone(&nominated), "a");
    assert!(cluster.answer(pod("p").requests("1", "1").priority(1)).contains("Insufficient cpu"));
    assert_eq!(cluster.answer(pod("p").requests("1", "1").priority(51)), "a");
    assert!(matches!(cluster.decide(&nominated), Decision::Place(_)));
    cluster.snapshot.withdraw_nomination("n");
    assert_eq!(cluster.answer(pod("p").requests("1", "1").priority(1)), "a");
}

#[test]
fn less_important_nominees_are_outbid() {
    let mut cluster = cluster([small("a")]).with([one("x", 0, "a"), one("y", 0, "a")]);
    cluster.snapshot.nominate(pod("n").requests("1", "1").priority(50).nominated("a").info(), "a");
    let Decision::Leave(_, preemption) = cluster.decide(&important().info()) else { panic!() };
    let scheduling::Nomination::Node { outbid, .. } = preemption.nomination else { panic!() };
    assert_eq!(outbid.iter().map(|pod| pod.name()).collect::<Vec<_>>(), ["n"]);
}

#[test]
fn removing_a_pod_can_satisfy_anti_affinity_and_spreading() {
    let host = "kubernetes.io/hostname";
    let web: &[(&str, &str)] = &[("app", "web")];
    let hermit = || one("hermit", 0, "a").apart(host, web);
    let wanting = || important().labels(web);
    assert_eq!(cluster([small("a")]).with([hermit()]).preempts(wanting()), "a: hermit");
    let noisy = one("noisy", 0, "a").labels(&[("noise", "1")]);
    let quiet = important().apart(host, &[("noise", "1")]);
    assert_eq!(cluster([small("a")]).with([noisy]).preempts(quiet), "a: noisy");
    let nodes = [small("a"), small("b").cordoned()];
    let spread = important().labels(web).spread(1, host, "DoNotSchedule", web);
    let mut skewed = cluster(nodes).with([one("w", 0, "a").labels(web)]);
    assert_eq!(skewed.preempts(spread), "a: w");
}

#[test]
fn ports_are_freed() {
    let taken = pod("x").host_port("", "TCP", 80).on("a");
    let wanting = pod("p").host_port("", "TCP", 80).priority(9);
    assert_eq!(cluster([small("a")]).with([taken]).preempts(wanting), "a: x");
}
