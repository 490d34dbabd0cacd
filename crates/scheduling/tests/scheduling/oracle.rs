//! A slow and obvious implementation of affinity and spreading, and clusters that change at random: the
//! indexes that placement counts with must agree with it after every change.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{Cluster, cluster, now};
use proptest::prelude::*;
use scheduling::{
    Decision,
    build::{NodeBuilder, PodBuilder, node, pod},
};

const KEYS: [&str; 3] = ["kubernetes.io/hostname", "topology.kubernetes.io/zone", "rack"];
const APPS: [&str; 3] = ["a", "b", "c"];

/// A pod by what the oracle understands.
#[derive(Clone, Debug)]
struct Wish {
    app: usize,
    namespace: bool,
    leaving: bool,
    near: Option<(usize, usize)>,
    apart: Option<(usize, usize)>,
    spread: Option<(usize, usize, i32)>,
}

impl Wish {
    fn namespace_name(&self) -> &'static str {
        if self.namespace { "default" } else { "other" }
    }

    fn build(&self, name: &str) -> PodBuilder {
        let mut pod = pod(name).namespace(self.namespace_name()).labels(&[("app", APPS[self.app])]);
        if let Some((key, app)) = self.near {
            pod = pod.near(KEYS[key], &[("app", APPS[app])]);
        }
        if let Some((key, app)) = self.apart {
            pod = pod.apart(KEYS[key], &[("app", APPS[app])]);
        }
        if let Some((key, app, skew)) = self.spread {
            pod = pod.spread(skew, KEYS[key], "DoNotSchedule", &[("app", APPS[app])]);
        }
        if self.leaving { pod.terminating(now()) } else { pod }
    }
}

type Labels = BTreeMap<&'static str, String>;

#[derive(Clone, Debug, Default)]
struct Oracle {
    nodes: BTreeMap<String, Labels>,
    pods: BTreeMap<String, (Wish, String)>,
}

impl Oracle {
    fn domain(&self, node: &str, key: usize) -> Option<&String> {
        self.nodes.get(node)?.get(KEYS[key])
    }

    /// Pods in `domain` that `counts` says count.
    fn count(&self, key: usize, domain: &String, counts: impl Fn(&Wish) -> bool) -> usize {
        let there =
            |(wish, node): &&(Wish, String)| self.domain(node, key) == Some(domain) && counts(wish);
        self.pods.values().filter(there).count()
    }

    fn fits(&self, wish: &Wish, node: &str) -> bool {
        self.near_holds(wish, node)
            && self.apart_holds(wish, node)
            && self.tolerated(wish, node)
            && self.spread_holds(wish, node)
    }

    fn near_holds(&self, wish: &Wish, node: &str) -> bool {
        let Some((key, app)) = wish.near else { return true };
        let Some(domain) = self.domain(node, key) else { return false };
        let wanted = |other: &Wish| other.app == app && other.namespace == wish.namespace;
        let anywhere =
            self.pods.values().any(|(other, on)| wanted(other) && self.domain(on, key).is_some());
        self.count(key, domain, wanted) > 0 || !anywhere && wish.app == app
    }

    fn apart_holds(&self, wish: &Wish, node: &str) -> bool {
        let Some((key, app)) = wish.apart else { return true };
        let unwanted = |other: &Wish| other.app == app && other.namespace == wish.namespace;
        self.domain(node, key).is_none_or(|domain| self.count(key, domain, unwanted) == 0)
    }

    fn tolerated(&self, wish: &Wish, node: &str) -> bool {
        self.pods.values().all(|(other, on)| match other.apart {
            Some((key, app)) if app == wish.app && other.namespace == wish.namespace => {
                let (here, there) = (self.domain(node, key), self.domain(on, key));
                here.is_none() || here != there
            }
            _ => true,
        })
    }

    fn spread_holds(&self, wish: &Wish, node: &str) -> bool {
        let Some((key, app, skew)) = wish.spread else { return true };
        let Some(domain) = self.domain(node, key) else { return false };
        let counts =
            |other: &Wish| other.app == app && other.namespace == wish.namespace && !other.leaving;
        let domains: BTreeSet<&String> =
            self.nodes.values().filter_map(|labels| labels.get(KEYS[key])).collect();
        let lowest = domains.iter().map(|domain| self.count(key, domain, counts)).min();
        let there = self.count(key, domain, counts) + usize::from(wish.app == app);
        there as i64 - lowest.unwrap_or_default() as i64 <= i64::from(skew)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Node { index: usize, zone: Option<usize>, rack: Option<usize> },
    RemoveNode(usize),
    Pod { index: usize, wish: Wish, node: usize },
    RemovePod(usize),
}

fn wish() -> impl Strategy<Value = Wish> {
    let term = || prop::option::of((0..KEYS.len(), 0..APPS.len()));
    let spread = prop::option::of((0..KEYS.len(), 0..APPS.len(), 1..3));
    (0..APPS.len(), any::<bool>(), any::<bool>(), term(), term(), spread).prop_map(
        |(app, namespace, leaving, near, apart, spread)| Wish {
            app,
            namespace,
            leaving,
            near,
            apart,
            spread,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let label = || prop::option::of(0..2_usize);
    prop_oneof![
        2 => (0..5_usize, label(), label())
            .prop_map(|(index, zone, rack)| Step::Node { index, zone, rack }),
        1 => (0..5_usize).prop_map(Step::RemoveNode),
        6 => (0..12_usize, wish(), 0..5_usize)
            .prop_map(|(index, wish, node)| Step::Pod { index, wish, node }),
        2 => (0..12_usize).prop_map(Step::RemovePod),
    ]
}

fn build_node(name: &str, labels: &Labels) -> NodeBuilder {
    let mut built = node(name);
    for (key, value) in labels {
        built = built.label(key, value);
    }
    built
}

fn apply(step: &Step, cluster: &mut Cluster, oracle: &mut Oracle) {
    match step {
        Step::Node { index, zone, rack } => {
            let name = format!("n{index}");
            let mut labels = Labels::from([(KEYS[0], name.clone())]);
            labels.extend(zone.map(|zone| (KEYS[1], format!("z{zone}"))));
            labels.extend(rack.map(|rack| (KEYS[2], format!("r{rack}"))));
            cluster.snapshot.set_node(build_node(&name, &labels).finish());
            oracle.nodes.insert(name, labels);
        }
        Step::RemoveNode(index) => {
            cluster.snapshot.remove_node(&format!("n{index}"));
            oracle.nodes.remove(&format!("n{index}"));
        }
        Step::Pod { index, wish, node } => {
            let (name, node) = (format!("p{index}"), format!("n{node}"));
            cluster.snapshot.set_pod(wish.build(&name).info(), &node);
            oracle.pods.insert(name, (wish.clone(), node));
        }
        Step::RemovePod(index) => {
            cluster.snapshot.remove_pod(&format!("p{index}"));
            oracle.pods.remove(&format!("p{index}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn indexes_agree_with_counting_by_hand(
        steps in prop::collection::vec(step(), 1..40),
        wishes in prop::collection::vec(wish(), 1..6),
    ) {
        let mut cluster = cluster([]);
        let mut oracle = Oracle::default();
        for step in &steps {
            apply(step, &mut cluster, &mut oracle);
        }
        for wish in &wishes {
            for node in oracle.nodes.keys() {
                let pod = wish.build("new").on(node).info();
                let placed = matches!(cluster.decide(&pod), Decision::Place(_));
                prop_assert_eq!(placed, oracle.fits(wish, node), "{:?} on {}: {:?}", wish, node, oracle);
            }
        }
    }
}
