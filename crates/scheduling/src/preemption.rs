//! Whom to remove so that a more important pod fits: the cheapest set of victims on one node.
//!
//! Only thinks: the victims are deleted by the scheduler's loop.

use std::{cmp::Ordering, sync::Arc};

use fastrand::Rng;
use k8s_openapi::{
    api::{core::v1::Pod, policy::v1::PodDisruptionBudget},
    jiff::Timestamp,
};

use crate::{
    fit_error::{Diagnosis, NodeStatus},
    framework::{Cycle, Rejection},
    labels::Selector,
    limits::{PREEMPTION_CANDIDATES_MIN, PREEMPTION_CANDIDATES_PERCENT},
    node::{NodeInfo, Slot},
    pod::PodInfo,
    schedule::Filters,
};

/// What becomes of the pod's claim on a node.
#[derive(Clone, Debug, Default)]
pub enum Nomination {
    /// Stays what it was.
    #[default]
    Keep,
    /// Is given up: no node can be made to fit.
    Clear,
    /// The node, once the victims are gone.
    Node {
        /// The node's name.
        name: String,
        /// Pods to remove, most important first.
        victims: Vec<Arc<PodInfo>>,
        /// Less important pods that were hoping for the node.
        outbid: Vec<Arc<PodInfo>>,
    },
}

/// The outcome of a preemption.
#[derive(Clone, Debug, Default)]
pub struct Preemption {
    /// What to carry out.
    pub nomination: Nomination,
    /// Why nothing is carried out; empty otherwise.
    pub message: String,
}

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

pub(crate) fn decide(
    cycle: Cycle<'_>,
    filters: Option<Filters<'_>>,
    diagnosis: &Diagnosis,
    rng: &mut Rng,
) -> Preemption {
    if let Some(message) = ineligible(cycle, diagnosis) {
        return Preemption { nomination: Nomination::Keep, message: message.to_owned() };
    }
    let potential: Vec<Slot> = cycle
        .snapshot
        .order()
        .iter()
        .copied()
        .filter(|slot| diagnosis.status(*slot) == NodeStatus::Unschedulable)
        .collect();
    let mut outcome = Diagnosis::new(diagnosis.nodes, cycle.snapshot.slots());
    outcome.set_unseen_reason(NOT_HELPFUL.into());
    let candidates = match filters {
        Some(filters) if !potential.is_empty() => {
            let offset = rng.usize(..potential.len());
            dry_run(cycle, filters, &potential, offset, &mut outcome)
        }
        _ => Vec::new(),
    };
    match pick(candidates, cycle.now) {
        Some(best) => nominate(cycle, best),
        None => Preemption { nomination: Nomination::Clear, message: outcome.to_string() },
    }
}

fn nominate(cycle: Cycle<'_>, candidate: Candidate) -> Preemption {
    let nominated = cycle.snapshot.nominated_on(&candidate.node).iter();
    let outbid =
        nominated.filter(|pod| pod.priority < cycle.pod.priority).map(Arc::clone).collect();
    let Candidate { node: name, victims, .. } = candidate;
    Preemption { nomination: Nomination::Node { name, victims, outbid }, message: String::new() }
}

fn ineligible(cycle: Cycle<'_>, diagnosis: &Diagnosis) -> Option<&'static str> {
    let policy = cycle.pod.spec().and_then(|spec| spec.preemption_policy.as_deref());
    if policy == Some("Never") {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let node = cycle.snapshot.node(cycle.pod.nominated_node_name()?)?;
    if diagnosis.pod_rejection.is_some() || diagnosis.status(node.slot) == NodeStatus::Unresolvable
    {
        return None;
    }
    let leaving = node
        .pods
        .iter()
        .any(|pod| pod.priority < cycle.pod.priority && is_being_preempted(&pod.pod));
    leaving.then_some("not eligible due to a terminating pod on the nominated node.")
}

fn is_being_preempted(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_some()
        && conditions.into_iter().any(|condition| {
            condition.type_ == "DisruptionTarget"
                && condition.status == "True"
                && condition.reason.as_deref() == Some("PreemptionByScheduler")
        })
}

#[derive(Debug)]
struct Candidate {
    node: String,
    victims: Vec<Arc<PodInfo>>,
    budgets_violated: usize,
}

fn dry_run(
    cycle: Cycle<'_>,
    mut filters: Filters<'_>,
    potential: &[Slot],
    offset: usize,
    outcome: &mut Diagnosis,
) -> Vec<Candidate> {
    let share = potential.len() * PREEMPTION_CANDIDATES_PERCENT / 100;
    let wanted = share.max(PREEMPTION_CANDIDATES_MIN).min(potential.len());
    let budgets = Budget::all(cycle);
    let (mut harmless, mut violating) = (Vec::new(), Vec::new());
    for step in 0..potential.len() {
        let slot = potential[(offset + step) % potential.len()];
        let Some(node) = cycle.snapshot.at(slot) else { continue };
        match victims_on(cycle, &mut filters, node, &budgets) {
            Ok(candidate) if candidate.budgets_violated == 0 => harmless.push(candidate),
            Ok(candidate) => violating.push(candidate),
            Err(rejection) => outcome.add(slot, &rejection),
        }
        if !harmless.is_empty() && harmless.len() + violating.len() >= wanted {
            break;
        }
    }
    harmless.append(&mut violating);
    harmless
}

/// Removes everyone less important, then lets back in whom the pod can live with: first those whose
/// removal would break a disruption budget, more important ones first.
fn victims_on(
    cycle: Cycle<'_>,
    filters: &mut Filters<'_>,
    node: &NodeInfo,
    budgets: &[Budget],
) -> Result<Candidate, Rejection> {
    let less_important = node.pods.iter().filter(|pod| pod.priority < cycle.pod.priority);
    let mut potential: Vec<Arc<PodInfo>> = less_important.map(Arc::clone).collect();
    if potential.is_empty() {
        return Err(Rejection::unresolvable(NO_VICTIMS));
    }
    let mut trial = Trial { cycle, filters, node: node.clone(), rejection: Rejection::default() };
    for pod in &potential {
        trial.remove(pod);
    }
    if !trial.fits() {
        let rejection = trial.rejection.clone();
        potential.iter().for_each(|pod| trial.add(pod));
        return Err(rejection);
    }
    potential.sort_by(|left, right| importance(left, right, cycle.now));
    let (violating, harmless) = split_by_budgets(potential, budgets);
    let mut victims = Vec::new();
    let violations = trial.reprieve(&violating, &mut victims);
    trial.reprieve(&harmless, &mut victims);
    victims.iter().for_each(|pod| trial.add(pod));
    if victims.is_empty() {
        return Err(Rejection::unresolvable(NOT_HELPFUL));
    }
    victims.sort_by(|left, right| importance(left, right, cycle.now));
    Ok(Candidate { node: trial.node.name().to_owned(), victims, budgets_violated: violations })
}

/// One node with some pods thought away; filters are told, and told back when it is over.
struct Trial<'t, 'c, 'f> {
    cycle: Cycle<'c>,
    filters: &'t mut Filters<'f>,
    node: NodeInfo,
    rejection: Rejection,
}

impl Trial<'_, '_, '_> {
    fn remove(&mut self, pod: &PodInfo) {
        self.node.remove_pod(&pod.uid);
        self.filters.update(pod, &self.node, -1);
    }

    fn add(&mut self, pod: &Arc<PodInfo>) {
        self.node.add_pod(Arc::clone(pod));
        self.filters.update(pod, &self.node, 1);
    }

    fn fits(&mut self) -> bool {
        self.filters.check_with_nominated(self.cycle, &self.node, &mut self.rejection).is_ok()
    }

    /// Lets back in who can stay; the others become victims, and are counted.
    fn reprieve(&mut self, pods: &[Arc<PodInfo>], victims: &mut Vec<Arc<PodInfo>>) -> usize {
        let before = victims.len();
        for pod in pods {
            self.add(pod);
            if !self.fits() {
                self.remove(pod);
                victims.push(Arc::clone(pod));
            }
        }
        victims.len() - before
    }
}

/// More important first: by priority, then by who has run longer.
fn importance(left: &PodInfo, right: &PodInfo, now: Timestamp) -> Ordering {
    let started = |pod: &PodInfo| pod.start_time().map_or(now, |time| time.0);
    right.priority.cmp(&left.priority).then_with(|| started(left).cmp(&started(right)))
}

struct Budget {
    namespace: String,
    selector: Selector,
    budget: Arc<PodDisruptionBudget>,
}

impl Budget {
    fn all(cycle: Cycle<'_>) -> Vec<Self> {
        let mut budgets: Vec<_> = cycle.snapshot.budgets.iter().filter_map(Self::new).collect();
        budgets.sort_by(|left, right| left.budget.metadata.name.cmp(&right.budget.metadata.name));
        budgets
    }

    /// Empty selectors protect nobody here, as upstream has it.
    fn new(budget: &Arc<PodDisruptionBudget>) -> Option<Self> {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let selector = Selector::compile(selector).ok().filter(|s| !s.is_everything())?;
        let namespace = budget.metadata.namespace.clone().unwrap_or_default();
        Some(Self { namespace, selector, budget: Arc::clone(budget) })
    }

    fn protects(&self, pod: &PodInfo) -> bool {
        let disrupted =
            self.budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
        self.namespace == pod.namespace()
            && !pod.labels().is_empty()
            && self.selector.matches(pod.labels())
            && !disrupted.is_some_and(|pods| pods.contains_key(pod.name()))
    }

    fn allowed(&self) -> i32 {
        self.budget
            .status
            .as_ref()
            .and_then(|status| status.disruptions_allowed)
            .unwrap_or_default()
    }
}

/// Pods whose removal, in this order, would break a budget; and the others.
fn split_by_budgets(
    pods: Vec<Arc<PodInfo>>,
    budgets: &[Budget],
) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut allowed: Vec<i32> = budgets.iter().map(Budget::allowed).collect();
    pods.into_iter().partition(|pod| {
        let mut violated = false;
        for (budget, allowed) in budgets.iter().zip(&mut allowed) {
            if budget.protects(pod) {
                *allowed -= 1;
                violated |= *allowed < 0;
            }
        }
        violated
    })
}

/// The candidate that does the least harm: fewest broken budgets, lowest highest priority, lowest sum of
/// priorities, fewest victims, and among those the one whose most important victims started last.
fn pick(candidates: Vec<Candidate>, now: Timestamp) -> Option<Candidate> {
    candidates.into_iter().reduce(|best, next| match harm(&next, now).cmp(&harm(&best, now)) {
        Ordering::Less => next,
        _ => best,
    })
}

type Harm = (usize, i32, i128, usize, std::cmp::Reverse<Timestamp>);

fn harm(candidate: &Candidate, now: Timestamp) -> Harm {
    let highest = candidate.victims.iter().map(|pod| pod.priority).max().unwrap_or(i32::MIN);
    // Shifted to be positive, so that many victims of negative priority count for more, not less.
    let sum = candidate.victims.iter().map(|pod| i128::from(pod.priority) + (1 << 31)).sum();
    let most_important = candidate.victims.iter().filter(|pod| pod.priority == highest);
    let earliest = most_important.map(|pod| pod.start_time().map_or(now, |time| time.0)).min();
    let earliest = std::cmp::Reverse(earliest.unwrap_or(now));
    (candidate.budgets_violated, highest, sum, candidate.victims.len(), earliest)
}
