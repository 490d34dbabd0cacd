//! PodTopologySpread: pods that belong together are kept evenly spread over domains.
//!
//! What counts and where is in `constraint`; hard constraints filter, soft ones score.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use self::constraint::Constraint;
use super::Row;
use crate::{
    config::{DefaultingType, ProfileConfig, SpreadArguments},
    event::Event,
    framework::{
        Cycle, FilterPlugin, NodeFilter, NodeScore, Plugin, Prepared, Rejection, ScorePlugin,
    },
    labels::Labels,
    limits::NODE_SCORE_MAX,
    node::{NodeInfo, Slot},
    pod::PodInfo,
    profile::ProfileError,
    snapshot::{HOSTNAME, ZONE},
    topology::{Column, NO_DOMAIN},
};

mod constraint;
mod default_selector;

pub(super) const ROW: Row = Row {
    name: "PodTopologySpread",
    weight: 2,
    build: |config| Ok(Box::new(PodTopologySpread::new(config)?)),
};

const REASON: &str = "node(s) didn't match pod topology spread constraints";
const REASON_LABEL: &str =
    "node(s) didn't match pod topology spread constraints (missing required label)";
const HARD: &str = "DoNotSchedule";
const SOFT: &str = "ScheduleAnyway";

#[derive(Debug)]
struct PodTopologySpread {
    defaults: Vec<TopologySpreadConstraint>,
    /// Upstream's own defaults apply, which also spread over nodes that lack a label.
    system_defaults: bool,
}

impl PodTopologySpread {
    fn new(config: &ProfileConfig) -> Result<Self, ProfileError> {
        let arguments: SpreadArguments = config.arguments(ROW.name)?;
        let system_defaults = arguments.defaulting_type == DefaultingType::System;
        let soft = |key: &str, max_skew| TopologySpreadConstraint {
            topology_key: key.to_owned(),
            max_skew,
            when_unsatisfiable: SOFT.to_owned(),
            ..TopologySpreadConstraint::default()
        };
        let defaults = if system_defaults {
            vec![soft(HOSTNAME, 3), soft(ZONE, 5)]
        } else {
            arguments.default_constraints
        };
        Ok(Self { defaults, system_defaults })
    }

    /// The constraints of `cycle.pod` with the given `action`, its own or else the defaults.
    fn constraints(&self, cycle: Cycle<'_>, action: &str) -> Result<Vec<Constraint>, Rejection> {
        match own_constraints(cycle.pod) {
            [] => Ok(self.default_constraints(cycle, action)),
            own => {
                let wanted =
                    own.iter().filter(|constraint| constraint.when_unsatisfiable == action);
                let compiled = wanted.map(|constraint| Constraint::compile(constraint, cycle.pod));
                compiled.collect::<Result<_, _>>().map_err(|error| {
                    Rejection::unresolvable(format!(
                        "obtaining pod's topology spread constraints: {error}"
                    ))
                })
            }
        }
    }

    fn default_constraints(&self, cycle: Cycle<'_>, action: &str) -> Vec<Constraint> {
        let wanted =
            self.defaults.iter().filter(|constraint| constraint.when_unsatisfiable == action);
        let mut wanted = wanted.peekable();
        if wanted.peek().is_none() {
            return Vec::new();
        }
        let selector = default_selector::of(cycle.snapshot, cycle.pod);
        if selector.is_everything() {
            return Vec::new();
        }
        wanted.map(|constraint| Constraint::with_selector(constraint, selector.clone())).collect()
    }
}

fn own_constraints(pod: &PodInfo) -> &[TopologySpreadConstraint] {
    let constraints = pod.spec().and_then(|spec| spec.topology_spread_constraints.as_deref());
    constraints.unwrap_or_default()
}

impl Plugin for PodTopologySpread {
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
                if change
                    .old
                    .or(change.new)
                    .is_some_and(|other| other.namespace() != pod.namespace())
                {
                    return false;
                }
                let moved = change.is_added()
                    || change.deleted().is_some()
                    || change.differs(PodInfo::labels);
                moved
                    && [change.old, change.new]
                        .into_iter()
                        .flatten()
                        .any(|other| counts(pod, other))
            }
            Event::Node(change) => {
                let part = |node: &'_ k8s_openapi::api::core::v1::Node| {
                    (
                        node.metadata.labels.clone(),
                        node.spec.as_ref().and_then(|spec| spec.taints.clone()),
                    )
                };
                let keys =
                    own_constraints(pod).iter().map(|constraint| constraint.topology_key.as_str());
                let has_all = |labels: &Labels| keys.clone().all(|key| labels.contains_key(key));
                let labelled = [change.old, change.new]
                    .into_iter()
                    .flatten()
                    .any(|node| has_all(crate::labels::of(&node.metadata)));
                labelled && (change.deleted().is_some() || change.differs(part))
            }
            event => event.changes_itself(pod),
        }
    }
}

/// Whether `other` counts for a hard constraint of `pod`.
fn counts(pod: &PodInfo, other: &PodInfo) -> bool {
    let hard =
        own_constraints(pod).iter().filter(|constraint| constraint.when_unsatisfiable == HARD);
    let mut hard = hard.map(|constraint| Constraint::compile(constraint, pod)).peekable();
    // Without constraints of its own the pod was rejected by default ones, whose selector may have changed.
    hard.peek().is_none()
        || hard.any(|constraint| constraint.is_ok_and(|it| it.selector.matches(other.labels())))
}

impl FilterPlugin for PodTopologySpread {
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        let constraints = self.constraints(cycle, HARD)?;
        if constraints.is_empty() {
            return Ok(Prepared::Skip);
        }
        Ok(Prepared::Check(Box::new(Check::new(cycle, constraints))))
    }
}

/// A hard constraint with the number of matching pods in each domain.
#[derive(Debug)]
struct Counted<'a> {
    constraint: Constraint,
    column: Cow<'a, Column>,
    /// By domain; `None` for a domain without eligible nodes.
    counts: Vec<Option<i64>>,
    /// The smallest count, 0 when there are too few domains.
    lowest: i64,
    matches_itself: i64,
}

impl Counted<'_> {
    fn find_lowest(&mut self) {
        let present = self.counts.iter().flatten();
        let domains = i64::try_from(present.clone().count()).unwrap_or(i64::MAX);
        let lowest = present.min().copied().unwrap_or_default();
        self.lowest = if domains < self.constraint.min_domains { 0 } else { lowest };
    }
}

#[derive(Debug)]
struct Check<'a> {
    cycle: Cycle<'a>,
    constraints: Vec<Counted<'a>>,
}

impl<'a> Check<'a> {
    fn new(cycle: Cycle<'a>, constraints: Vec<Constraint>) -> Self {
        let columns = constraints.iter().map(|it| cycle.snapshot.column(&it.topology_key));
        let columns: Vec<Cow<'a, Column>> = columns.collect();
        let with_all_labels: Vec<&NodeInfo> = cycle
            .snapshot
            .nodes()
            .filter(|node| columns.iter().all(|column| column.domain(node.slot) != NO_DOMAIN))
            .collect();
        let counted = constraints.into_iter().zip(columns).map(|(constraint, column)| {
            let mut counts = vec![None; column.size()];
            let mut eligible = vec![false; cycle.snapshot.slots()];
            let honours_all = constraint.honours_all(cycle.pod);
            for node in &with_all_labels {
                if honours_all || constraint.honours(cycle.pod, node) {
                    counts[column.domain(node.slot) as usize] = Some(0);
                    eligible[node.slot.index()] = true;
                }
            }
            constraint.count(cycle, |slot, pods| {
                if eligible[slot.index()]
                    && let Some(count) = &mut counts[column.domain(slot) as usize]
                {
                    *count += pods;
                }
            });
            let matches_itself = i64::from(constraint.selector.matches(cycle.pod.labels()));
            let mut counted = Counted { constraint, column, counts, lowest: 0, matches_itself };
            counted.find_lowest();
            counted
        });
        Self { cycle, constraints: counted.collect() }
    }
}

impl NodeFilter for Check<'_> {
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool {
        for counted in &self.constraints {
            let domain = counted.column.domain(node.slot);
            if domain == NO_DOMAIN {
                return rejection.reject_for_good(REASON_LABEL);
            }
            let there = counted.counts[domain as usize].unwrap_or_default();
            let skew = there + counted.matches_itself - counted.lowest;
            if skew > counted.constraint.max_skew {
                return rejection.reject(REASON);
            }
        }
        true
    }

    fn update(&mut self, pod: &PodInfo, node: &NodeInfo, change: i64) {
        let cycle = self.cycle;
        let labelled = |it: &Counted<'_>| it.column.domain(node.slot) != NO_DOMAIN;
        if pod.namespace() != cycle.pod.namespace() || !self.constraints.iter().all(labelled) {
            return;
        }
        for counted in &mut self.constraints {
            let constraint = &counted.constraint;
            if !constraint.selector.matches(pod.labels()) || !constraint.honours(cycle.pod, node) {
                continue;
            }
            let domain = counted.column.domain(node.slot) as usize;
            *counted.counts[domain].get_or_insert(0) += change;
            counted.find_lowest();
        }
    }
}

impl ScorePlugin for PodTopologySpread {
    fn prepare<'a>(
        &'a self,
        cycle: Cycle<'a>,
        feasible: &[Slot],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let constraints = self.constraints(cycle, SOFT).ok()?;
        if constraints.is_empty() {
            return None;
        }
        let all_labels = !own_constraints(cycle.pod).is_empty() || !self.system_defaults;
        Some(Box::new(Score::new(cycle, &constraints, feasible, all_labels)))
    }
}

/// A soft constraint with the number of matching pods in each domain.
#[derive(Debug)]
struct Weighed<'a> {
    column: Cow<'a, Column>,
    counts: Vec<i64>,
    /// Large for many domains, so that every constraint counts about the same.
    weight: f64,
    max_skew: i64,
}

#[derive(Debug)]
struct Score<'a> {
    constraints: Vec<Weighed<'a>>,
    /// By slot: nodes that lack a label and therefore score nothing.
    ignored: Vec<bool>,
}

impl<'a> Score<'a> {
    fn new(
        cycle: Cycle<'a>,
        constraints: &[Constraint],
        feasible: &[Slot],
        all_labels: bool,
    ) -> Self {
        let columns = constraints.iter().map(|it| cycle.snapshot.column(&it.topology_key));
        let columns: Vec<Cow<'a, Column>> = columns.collect();
        let lacks_label =
            |slot: Slot| columns.iter().any(|column| column.domain(slot) == NO_DOMAIN);
        let mut ignored = vec![false; cycle.snapshot.slots()];
        let mut counted_nodes = 0_usize;
        for slot in feasible {
            ignored[slot.index()] = all_labels && lacks_label(*slot);
            counted_nodes += usize::from(!ignored[slot.index()]);
        }
        let scoring: Vec<Slot> =
            feasible.iter().copied().filter(|slot| !ignored[slot.index()]).collect();
        let weighed = constraints.iter().zip(&columns).map(|(constraint, column)| {
            let by_host = &*constraint.topology_key == HOSTNAME;
            let domains = if by_host { counted_nodes } else { domains_of(column, &scoring) };
            let mut counts = vec![0; column.size()];
            let honours_all = constraint.honours_all(cycle.pod);
            constraint.count(cycle, |slot, pods| {
                let domain = column.domain(slot);
                if domain == NO_DOMAIN || !by_host && all_labels && lacks_label(slot) {
                    return;
                }
                let honoured = by_host
                    || honours_all
                    || cycle
                        .snapshot
                        .at(slot)
                        .is_some_and(|node| constraint.honours(cycle.pod, node));
                if honoured {
                    counts[domain as usize] += pods;
                }
            });
            Weighed {
                column: column.clone(),
                counts,
                weight: (domains as f64 + 2.0).ln(),
                max_skew: constraint.max_skew,
            }
        });
        Self { constraints: weighed.collect(), ignored }
    }
}

/// Number of different domains of `slots`; nodes without the label are one more.
fn domains_of(column: &Column, slots: &[Slot]) -> usize {
    let mut seen = vec![false; column.size() + 1];
    for slot in slots {
        let domain = column.domain(*slot);
        let index = if domain == NO_DOMAIN { column.size() } else { domain as usize };
        seen[index] = true;
    }
    seen.into_iter().filter(|seen| *seen).count()
}

impl NodeScore for Score<'_> {
    /// The fewer matching pods there are, the better; turned around by `normalize`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float becomes the nearest whole number there is, as upstream's does"
    )]
    fn score(&self, node: &NodeInfo) -> i64 {
        if self.ignored[node.slot.index()] {
            return 0;
        }
        let sum: f64 = self
            .constraints
            .iter()
            .filter_map(|it| {
                let domain = it.column.domain(node.slot);
                (domain != NO_DOMAIN).then(|| {
                    it.counts[domain as usize] as f64 * it.weight + (it.max_skew - 1) as f64
                })
            })
            .sum();
        sum.round() as i64
    }

    fn normalize(&self, nodes: &[Slot], scores: &mut [i64]) {
        let scoring = || nodes.iter().zip(0..).filter(|(slot, _)| !self.ignored[slot.index()]);
        let highest =
            scoring().map(|(_, index): (_, usize)| scores[index]).max().unwrap_or_default();
        let lowest =
            scoring().map(|(_, index): (_, usize)| scores[index]).min().unwrap_or_default();
        for (slot, score) in nodes.iter().zip(scores) {
            *score = match highest {
                _ if self.ignored[slot.index()] => 0,
                0 => NODE_SCORE_MAX,
                highest => NODE_SCORE_MAX * (highest + lowest - *score) / highest,
            };
        }
    }
}
