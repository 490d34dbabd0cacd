//! InterPodAffinity: pods that must or should be near other pods, or away from them.

use std::borrow::Cow;

use super::Row;
use crate::{
    affinity::Term,
    config::{InterPodAffinityArguments, ProfileConfig},
    event::Event,
    framework::{
        Cycle, FilterPlugin, NodeFilter, NodeScore, Plugin, Prepared, Rejection, ScorePlugin,
    },
    labels::Labels,
    limits::NODE_SCORE_MAX,
    node::{NodeInfo, Slot},
    pod::PodInfo,
    profile::ProfileError,
    topology::{Column, NO_DOMAIN},
};

pub(super) const ROW: Row = Row {
    name: "InterPodAffinity",
    weight: 2,
    build: |config| Ok(Box::new(InterPodAffinity::new(config)?)),
};

const REASON_EXISTING: &str = "node(s) didn't satisfy existing pods anti-affinity rules";
const REASON_AFFINITY: &str = "node(s) didn't match pod affinity rules";
const REASON_ANTI: &str = "node(s) didn't match pod anti-affinity rules";

#[derive(Debug)]
struct InterPodAffinity(InterPodAffinityArguments);

impl InterPodAffinity {
    fn new(config: &ProfileConfig) -> Result<Self, ProfileError> {
        config.arguments::<InterPodAffinityArguments>(ROW.name).map(Self)
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn filter(&self) -> Option<&dyn FilterPlugin> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn ScorePlugin> {
        Some(self)
    }

    fn wakes(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        match event {
            Event::AssignedPod(change) => {
                let arrived = change.new.filter(|_| change.differs(PodInfo::labels));
                // Namespace labels are not at hand here: a term that goes by them may wake for nothing.
                let no_labels = Labels::new();
                let speaks = |terms: &[Term], of: &PodInfo| {
                    terms.iter().any(|term| {
                        term.goes_by_namespace_labels()
                            || term.matches(of.namespace(), &no_labels, of.labels())
                    })
                };
                let joins = arrived.is_some_and(|other| speaks(&pod.terms.required, other));
                let left =
                    change.old.filter(|_| change.new.is_none() || change.differs(PodInfo::labels));
                let leaves = left.is_some_and(|other| {
                    speaks(&pod.terms.required_anti, other)
                        || speaks(&other.terms.required_anti, pod)
                });
                joins || leaves
            }
            Event::Node(change) if change.new.is_some() => {
                change.is_added() || event.node_labels_changed().is_some()
            }
            event => event.changes_itself(pod),
        }
    }
}

/// Pods per domain of one topology key.
#[derive(Debug)]
struct Counts<'a> {
    column: Cow<'a, Column>,
    counts: Vec<i64>,
}

impl<'a> Counts<'a> {
    fn new(cycle: Cycle<'a>, key: &str) -> Self {
        let column = cycle.snapshot.column(key);
        Self { counts: vec![0; column.size()], column }
    }

    fn add(&mut self, slot: Slot, amount: i64) {
        let domain = self.column.domain(slot);
        if domain != NO_DOMAIN {
            self.counts[domain as usize] += amount;
        }
    }

    /// `None` when the node is in no domain.
    fn at(&self, slot: Slot) -> Option<i64> {
        let domain = self.column.domain(slot);
        (domain != NO_DOMAIN).then(|| self.counts[domain as usize])
    }

    fn is_zero(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }
}

/// Counts for each of several keys.
#[derive(Debug)]
struct Keyed<'a>(Vec<(String, Counts<'a>)>);

impl<'a> Keyed<'a> {
    fn entry(&mut self, cycle: Cycle<'a>, key: &str) -> &mut Counts<'a> {
        let position = self.0.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
            self.0.push((key.to_owned(), Counts::new(cycle, key)));
            self.0.len() - 1
        });
        &mut self.0[position].1
    }
}

fn matches(cycle: Cycle<'_>, term: &Term, namespace: &str, labels: &Labels) -> bool {
    term.matches(namespace, cycle.snapshot.namespace_labels(namespace), labels)
}

fn matches_all(cycle: Cycle<'_>, terms: &[Term], namespace: &str, labels: &Labels) -> bool {
    !terms.is_empty() && terms.iter().all(|term| matches(cycle, term, namespace, labels))
}

impl FilterPlugin for InterPodAffinity {
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        let terms = &cycle.pod.terms;
        let existing = cycle.snapshot.groups.any_terms(|terms| &terms.required_anti);
        if terms.required.is_empty() && terms.required_anti.is_empty() && !existing {
            return Ok(Prepared::Skip);
        }
        let check = Check::new(cycle);
        let idle = terms.required.is_empty() && terms.required_anti.is_empty();
        if idle && check.existing.0.iter().all(|(_, counts)| counts.is_zero()) {
            return Ok(Prepared::Skip);
        }
        Ok(Prepared::Check(Box::new(check)))
    }
}

#[derive(Debug)]
struct Check<'a> {
    cycle: Cycle<'a>,
    /// Placed pods whose anti-affinity speaks of this pod.
    existing: Keyed<'a>,
    /// Placed pods that match all affinity terms of this pod, per term.
    affinity: Vec<Counts<'a>>,
    /// Placed pods that match an anti-affinity term of this pod, per term.
    anti: Vec<Counts<'a>>,
    attracts_itself: bool,
}

impl<'a> Check<'a> {
    fn new(cycle: Cycle<'a>) -> Self {
        let terms = &cycle.pod.terms;
        let counts = |terms: &[Term]| -> Vec<Counts<'a>> {
            terms.iter().map(|term| Counts::new(cycle, &term.topology_key)).collect()
        };
        let mut check = Self {
            cycle,
            existing: Keyed(Vec::new()),
            affinity: counts(&terms.required),
            anti: counts(&terms.required_anti),
            attracts_itself: matches_all(
                cycle,
                &terms.required,
                cycle.pod.namespace(),
                cycle.pod.labels(),
            ),
        };
        check.count_existing();
        check.count_own();
        check
    }

    fn count_existing(&mut self) {
        let (cycle, pod) = (self.cycle, self.cycle.pod);
        for group in cycle.snapshot.groups.with_terms() {
            for term in &group.terms.required_anti {
                if matches(cycle, term, pod.namespace(), pod.labels()) {
                    let counts = self.existing.entry(cycle, &term.topology_key);
                    group.spread.iter().for_each(|(slot, pods)| counts.add(slot, pods));
                }
            }
        }
    }

    fn count_own(&mut self) {
        let (cycle, terms) = (self.cycle, &self.cycle.pod.terms);
        if terms.required.is_empty() && terms.required_anti.is_empty() {
            return;
        }
        for (namespace, group) in cycle.snapshot.groups.all() {
            if matches_all(cycle, &terms.required, namespace, group.labels) {
                for counts in &mut self.affinity {
                    group.spread.iter().for_each(|(slot, pods)| counts.add(slot, pods));
                }
            }
            for (term, counts) in terms.required_anti.iter().zip(&mut self.anti) {
                if matches(cycle, term, namespace, group.labels) {
                    group.spread.iter().for_each(|(slot, pods)| counts.add(slot, pods));
                }
            }
        }
    }

    /// Every term must find a pod nearby; the first pod of a group that attracts itself may go anywhere.
    fn affinity_holds(&self, slot: Slot) -> bool {
        let mut found = true;
        for counts in &self.affinity {
            match counts.at(slot) {
                None => return false,
                Some(pods) => found &= pods > 0,
            }
        }
        found || self.attracts_itself && self.affinity.iter().all(Counts::is_zero)
    }
}

impl NodeFilter for Check<'_> {
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool {
        let occupied = |counts: &Counts<'_>| counts.at(node.slot).is_some_and(|pods| pods > 0);
        if !self.affinity_holds(node.slot) {
            return rejection.reject_for_good(REASON_AFFINITY);
        }
        if self.anti.iter().any(occupied) {
            return rejection.reject(REASON_ANTI);
        }
        if self.existing.0.iter().any(|(_, counts)| occupied(counts)) {
            return rejection.reject(REASON_EXISTING);
        }
        true
    }

    fn update(&mut self, pod: &PodInfo, node: &NodeInfo, change: i64) {
        let (cycle, own) = (self.cycle, self.cycle.pod);
        for term in &pod.terms.required_anti {
            if matches(cycle, term, own.namespace(), own.labels()) {
                self.existing.entry(cycle, &term.topology_key).add(node.slot, change);
            }
        }
        if matches_all(cycle, &own.terms.required, pod.namespace(), pod.labels()) {
            self.affinity.iter_mut().for_each(|counts| counts.add(node.slot, change));
        }
        for (term, counts) in own.terms.required_anti.iter().zip(&mut self.anti) {
            if matches(cycle, term, pod.namespace(), pod.labels()) {
                counts.add(node.slot, change);
            }
        }
    }
}

impl ScorePlugin for InterPodAffinity {
    fn prepare<'a>(
        &'a self,
        cycle: Cycle<'a>,
        _feasible: &[Slot],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let own = &cycle.pod.terms;
        let has_preferences = !own.preferred.is_empty() || !own.preferred_anti.is_empty();
        if self.0.ignore_preferred_terms_of_existing_pods && !has_preferences {
            return None;
        }
        let mut score = Keyed(Vec::new());
        if has_preferences {
            for (namespace, group) in cycle.snapshot.groups.all() {
                for (terms, sign) in [(&own.preferred, 1), (&own.preferred_anti, -1)] {
                    for term in
                        terms.iter().filter(|it| matches(cycle, it, namespace, group.labels))
                    {
                        let counts = score.entry(cycle, &term.topology_key);
                        let weight = sign * i64::from(term.weight);
                        group
                            .spread
                            .iter()
                            .for_each(|(slot, pods)| counts.add(slot, weight * pods));
                    }
                }
            }
        }
        self.weigh_existing(cycle, &mut score);
        (!score.0.is_empty()).then(|| Box::new(Score(score)) as Box<dyn NodeScore>)
    }
}

impl InterPodAffinity {
    /// What placed pods think of this one.
    fn weigh_existing<'a>(&self, cycle: Cycle<'a>, score: &mut Keyed<'a>) {
        let (namespace, labels) = (cycle.pod.namespace(), cycle.pod.labels());
        let hard = self.0.hard_pod_affinity_weight;
        for group in cycle.snapshot.groups.with_terms() {
            let terms = &group.terms;
            let required = terms.required.iter().map(|term| (term, hard));
            let preferred = terms.preferred.iter().map(|term| (term, i64::from(term.weight)));
            let anti = terms.preferred_anti.iter().map(|term| (term, -i64::from(term.weight)));
            for (term, weight) in required.chain(preferred).chain(anti) {
                if weight != 0 && matches(cycle, term, namespace, labels) {
                    let counts = score.entry(cycle, &term.topology_key);
                    group.spread.iter().for_each(|(slot, pods)| counts.add(slot, weight * pods));
                }
            }
        }
    }
}

#[derive(Debug)]
struct Score<'a>(Keyed<'a>);

impl NodeScore for Score<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.0.0.iter().filter_map(|(_, counts)| counts.at(node.slot)).sum()
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float becomes the nearest whole number there is, as upstream's does"
    )]
    fn normalize(&self, _nodes: &[Slot], scores: &mut [i64]) {
        let lowest = scores.iter().copied().min().unwrap_or_default();
        let highest = scores.iter().copied().max().unwrap_or_default();
        let range = (highest - lowest) as f64;
        for score in scores {
            *score = match range > 0.0 {
                true => (NODE_SCORE_MAX as f64 * ((*score - lowest) as f64 / range)) as i64,
                false => 0,
            };
        }
    }
}
