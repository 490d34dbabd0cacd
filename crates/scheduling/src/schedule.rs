//! One scheduling cycle: filter, score, choose; or say why not and who would have to leave.

use fastrand::Rng;
use k8s_openapi::jiff::Timestamp;

use crate::{
    fit_error::{Diagnosis, FitError},
    framework::{Cycle, NodeFilter, Prepared, Reason, Rejection},
    limits::{
        ADAPTIVE_NODES_PER_PERCENT, FEASIBLE_NODES_MIN, FEASIBLE_PERCENT_MIN,
        FEASIBLE_PERCENT_START,
    },
    node::{NodeInfo, Slot},
    pod::PodInfo,
    preemption::{self, Preemption},
    profile::Profile,
    snapshot::Snapshot,
};

/// What lives from cycle to cycle: where the last search ended, and buffers.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// Breaks ties and spreads preemption.
    pub rng: Rng,
    start: usize,
    feasible: Vec<Slot>,
    totals: Vec<i64>,
    scores: Vec<i64>,
}

impl Cursor {
    /// Starts at the first node.
    pub fn new(rng: Rng) -> Self {
        Self { rng, start: 0, feasible: Vec::new(), totals: Vec::new(), scores: Vec::new() }
    }
}

/// A node for the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The node's name.
    pub node: String,
    /// How many nodes were looked at.
    pub evaluated: usize,
    /// How many of them would do.
    pub feasible: usize,
}

/// What to do with the pod.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Bind it.
    Place(Placement),
    /// Leave it, say why, and carry the preemption out.
    Leave(Box<FitError>, Preemption),
    /// There are no nodes at all.
    NoNodes,
}

/// Decides where `pod` goes.
pub fn schedule(
    snapshot: &Snapshot,
    pod: &PodInfo,
    profile: &Profile,
    cursor: &mut Cursor,
    now: Timestamp,
) -> Decision {
    if snapshot.node_count() == 0 {
        return Decision::NoNodes;
    }
    let cycle = Cycle { snapshot, pod, now };
    let mut diagnosis = Diagnosis::new(snapshot.node_count(), snapshot.slots());
    let mut filters = match Filters::prepare(cycle, profile, &mut diagnosis) {
        Ok(filters) => filters,
        Err(rejection) => {
            diagnosis.pod_rejection = Some(rejection.message());
            return leave(cycle, profile, None, diagnosis, cursor);
        }
    };
    let mut feasible = std::mem::take(&mut cursor.feasible);
    find_feasible(cycle, profile, &mut filters, &mut diagnosis, cursor, &mut feasible);
    let decision = match feasible[..] {
        [] => leave(cycle, profile, Some(filters), diagnosis, cursor),
        [only] => place(snapshot, only, &diagnosis, 1),
        _ => {
            let best = choose(cycle, profile, cursor, &feasible);
            place(snapshot, best, &diagnosis, feasible.len())
        }
    };
    cursor.feasible = feasible;
    decision
}

fn place(snapshot: &Snapshot, slot: Slot, diagnosis: &Diagnosis, feasible: usize) -> Decision {
    let node = snapshot.at(slot).map(|node| node.name().to_owned()).unwrap_or_default();
    Decision::Place(Placement { node, evaluated: feasible + diagnosis.rejected(), feasible })
}

fn leave(
    cycle: Cycle<'_>,
    profile: &Profile,
    filters: Option<Filters<'_>>,
    diagnosis: Diagnosis,
    cursor: &mut Cursor,
) -> Decision {
    if !profile.preempts() {
        let error = FitError { diagnosis, preemption: String::new() };
        return Decision::Leave(Box::new(error), Preemption::default());
    }
    let preemption = preemption::decide(cycle, filters, &diagnosis, &mut cursor.rng);
    let message = match &preemption.message {
        message if message.is_empty() => String::new(),
        message => format!("preemption: {message}"),
    };
    Decision::Leave(Box::new(FitError { diagnosis, preemption: message }), preemption)
}

/// The filters that have something to say on one pod.
#[derive(Debug)]
pub(crate) struct Filters<'a> {
    active: Vec<(&'static str, Box<dyn NodeFilter + 'a>)>,
    only: Option<Vec<String>>,
}

impl<'a> Filters<'a> {
    fn prepare(
        cycle: Cycle<'a>,
        profile: &'a Profile,
        diagnosis: &mut Diagnosis,
    ) -> Result<Self, Rejection> {
        let mut filters = Self { active: Vec::new(), only: None };
        let mut restricting = Vec::new();
        for plugin in profile.plugins() {
            let Some(filter) = plugin.filter() else { continue };
            let prepared = filter.prepare(cycle).inspect_err(|_| {
                diagnosis.plugins.insert(plugin.name());
            })?;
            match prepared {
                Prepared::Skip => {}
                Prepared::Check(node_filter) => filters.active.push((plugin.name(), node_filter)),
                Prepared::CheckOnly(names, node_filter) => {
                    filters.active.push((plugin.name(), node_filter));
                    restricting.push(plugin.name());
                    diagnosis.plugins.insert(plugin.name());
                    filters.restrict(names);
                }
            }
            if filters.only.as_ref().is_some_and(Vec::is_empty) {
                let text = match &restricting[..] {
                    [only] => format!("node(s) didn't satisfy plugin {only}"),
                    many => {
                        format!("node(s) didn't satisfy plugin(s) {} simultaneously", list(many))
                    }
                };
                return Err(Rejection::unresolvable(text));
            }
        }
        if filters.only.is_some() {
            let text = format!("node(s) didn't satisfy plugin(s) {}", list(&restricting));
            diagnosis.set_unseen_reason(Reason::from(text));
        }
        Ok(filters)
    }

    fn restrict(&mut self, names: Vec<String>) {
        self.only = Some(match self.only.take() {
            None => names,
            Some(before) => before.into_iter().filter(|name| names.contains(name)).collect(),
        });
    }

    /// Whether `node` will do as it is; the first plugin that says no is named.
    pub(crate) fn check(
        &self,
        node: &NodeInfo,
        rejection: &mut Rejection,
    ) -> Result<(), &'static str> {
        rejection.clear();
        for (name, filter) in &self.active {
            if !filter.check(node, rejection) {
                return Err(name);
            }
        }
        Ok(())
    }

    /// Whether `node` will do, both with the pods that room is being made for there, and without.
    pub(crate) fn check_with_nominated(
        &mut self,
        cycle: Cycle<'_>,
        node: &NodeInfo,
        rejection: &mut Rejection,
    ) -> Result<(), &'static str> {
        let nominated = cycle.snapshot.nominated_on(node.name());
        let ahead =
            |other: &PodInfo| other.priority >= cycle.pod.priority && other.uid != cycle.pod.uid;
        if nominated.iter().any(|other| ahead(other)) {
            let mut full = node.clone();
            let ahead: Vec<_> = nominated.iter().filter(|other| ahead(other)).collect();
            for other in &ahead {
                full.add_pod(std::sync::Arc::clone(other));
                self.update(other, &full, 1);
            }
            let outcome = self.check(&full, rejection);
            for other in &ahead {
                self.update(other, &full, -1);
            }
            outcome?;
        }
        self.check(node, rejection)
    }

    pub(crate) fn update(&mut self, pod: &PodInfo, node: &NodeInfo, change: i64) {
        for (_, filter) in &mut self.active {
            filter.update(pod, node, change);
        }
    }
}

fn list(names: &[&str]) -> String {
    let mut names = names.to_vec();
    names.sort_unstable();
    format!("[{}]", names.join(" "))
}

fn find_feasible(
    cycle: Cycle<'_>,
    profile: &Profile,
    filters: &mut Filters<'_>,
    diagnosis: &mut Diagnosis,
    cursor: &mut Cursor,
    feasible: &mut Vec<Slot>,
) {
    feasible.clear();
    let mut rejection = Rejection::default();
    let nominated = cycle.pod.nominated_node_name().and_then(|name| cycle.snapshot.node(name));
    if let Some(node) = nominated
        && filters.check_with_nominated(cycle, node, &mut rejection).is_ok()
    {
        feasible.push(node.slot);
        return;
    }
    let named: Vec<Slot>;
    let order = match &filters.only {
        None => cycle.snapshot.order(),
        Some(names) => {
            let nodes = names.iter().filter_map(|name| cycle.snapshot.node(name));
            named = nodes.map(|node| node.slot).collect();
            &named
        }
    };
    if order.is_empty() {
        return;
    }
    let wanted = profile.nodes_to_find(order.len());
    let start = cursor.start % order.len();
    let (wrapped, ahead) = order.split_at(start);
    let any_nominated = cycle.snapshot.has_nominations();
    for slot in ahead.iter().chain(wrapped) {
        let Some(node) = cycle.snapshot.at(*slot) else { continue };
        let outcome = if any_nominated {
            filters.check_with_nominated(cycle, node, &mut rejection)
        } else {
            filters.check(node, &mut rejection)
        };
        match outcome {
            Ok(()) => {
                diagnosis.set_fits(*slot);
                feasible.push(*slot);
                if feasible.len() >= wanted {
                    break;
                }
            }
            Err(plugin) => {
                diagnosis.plugins.insert(plugin);
                diagnosis.add(*slot, &rejection);
            }
        }
    }
    let processed = feasible.len() + diagnosis.rejected();
    cursor.start = (cursor.start + processed) % cycle.snapshot.node_count();
}

impl Profile {
    /// How many feasible nodes are enough: all of a small cluster, a shrinking share of a large one.
    pub(crate) fn nodes_to_find(&self, nodes: usize) -> usize {
        if nodes < FEASIBLE_NODES_MIN {
            return nodes;
        }
        let percent = match self.percentage_of_nodes_to_score() {
            0 => FEASIBLE_PERCENT_START
                .saturating_sub(nodes / ADAPTIVE_NODES_PER_PERCENT)
                .max(FEASIBLE_PERCENT_MIN),
            percent => percent,
        };
        (nodes * percent / 100).max(FEASIBLE_NODES_MIN)
    }
}

/// The best of `feasible`; ties are broken at random.
fn choose(cycle: Cycle<'_>, profile: &Profile, cursor: &mut Cursor, feasible: &[Slot]) -> Slot {
    let Cursor { rng, totals, scores, .. } = cursor;
    totals.clear();
    totals.resize(feasible.len(), 0);
    for (plugin, weight) in profile.scorers() {
        let Some(scorer) = plugin.score().and_then(|plugin| plugin.prepare(cycle, feasible)) else {
            continue;
        };
        scores.clear();
        let nodes = feasible.iter().map(|slot| cycle.snapshot.at(*slot));
        scores.extend(nodes.map(|node| node.map_or(0, |node| scorer.score(node))));
        scorer.normalize(feasible, scores);
        for (total, score) in totals.iter_mut().zip(&*scores) {
            *total = weight.saturating_mul(*score).saturating_add(*total);
        }
    }
    let mut best = 0;
    let mut ties = 0;
    for (index, total) in totals.iter().enumerate() {
        if *total > totals[best] || index == 0 {
            best = index;
            ties = 1;
        } else if *total == totals[best] {
            ties += 1;
            if rng.usize(..ties) == 0 {
                best = index;
            }
        }
    }
    feasible[best]
}
