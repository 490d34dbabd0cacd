//! One pod on every node that is meant: which to make, which to delete, how to roll, what to report.

mod nodes;
mod rollout;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::note::Note;
use crate::pods;
pub use nodes::{pod_for, should_run, target};

/// Pods made or deleted in one round.
pub const BURST: usize = 250;
const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";
pub(crate) const GENERATION_LABEL: &str = "pod-template-generation";

/// What is known when deciding.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The DaemonSet.
    pub set: &'a DaemonSet,
    /// All nodes.
    pub nodes: &'a [Arc<Node>],
    /// Its pods, whatever their state.
    pub pods: &'a [Arc<Pod>],
    /// Hash of the present template.
    pub hash: &'a str,
    /// Nodes on which a failed pod must wait for that long before it is replaced.
    pub pauses: &'a BTreeMap<String, Duration>,
    /// Whether all pods made and deleted earlier were seen since.
    pub settled: bool,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Nodes that get a pod.
    pub create: Vec<String>,
    /// Pods to delete.
    pub delete: Vec<Arc<Pod>>,
    /// Nodes whose pod has failed and is replaced now.
    pub failed: Vec<String>,
    /// Events.
    pub notes: Vec<Note>,
    /// When to look again, changes or not.
    pub again_after: Option<Duration>,
}

/// A DaemonSet with its pods sorted by node.
pub(crate) struct View<'a> {
    pub(crate) snapshot: &'a Snapshot<'a>,
    pub(crate) by_node: BTreeMap<String, Vec<Arc<Pod>>>,
    pub(crate) now: Timestamp,
}

impl<'a> View<'a> {
    fn new(snapshot: &'a Snapshot<'a>, now: Timestamp) -> Self {
        let mut by_node: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in snapshot.pods {
            let is_over = pods::is_terminal(pod) && pods::is_deleting(pod);
            if let Some(node) = target(pod).filter(|_| !is_over) {
                by_node.entry(node.to_owned()).or_default().push(Arc::clone(pod));
            }
        }
        for pods in by_node.values_mut() {
            pods.sort_by_key(|pod| {
                let created = pods::created(&pod.metadata);
                (pods::node(pod).is_empty(), created, pods::name(pod).to_owned())
            });
        }
        Self { snapshot, by_node, now }
    }

    pub(crate) fn min_ready_seconds(&self) -> i32 {
        self.snapshot.set.spec.min_ready_seconds.unwrap_or(0)
    }

    pub(crate) fn is_available(&self, pod: &Pod) -> bool {
        pods::is_available(pod, self.min_ready_seconds(), self.now)
    }

    /// Whether a pod was made from the present template.
    pub(crate) fn is_updated(&self, pod: &Pod) -> bool {
        let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        let generation = generation(self.snapshot.set);
        label(crate::revision::POD_LABEL).is_some_and(|hash| hash == self.snapshot.hash)
            || (generation.is_some() && label(GENERATION_LABEL) == generation)
    }
}

/// The template's generation, for clients of old API versions.
pub(crate) fn generation(set: &DaemonSet) -> Option<&String> {
    let generation = set.metadata.annotations.as_ref()?.get(GENERATION_ANNOTATION)?;
    generation.parse::<i64>().is_ok().then_some(generation)
}

/// Decides which pods to make and delete.
pub fn decide(snapshot: &Snapshot<'_>, now: Timestamp) -> Plan {
    if snapshot.set.metadata.deletion_timestamp.is_some() || !snapshot.settled {
        return Plan::default();
    }
    let view = View::new(snapshot, now);
    let mut plan = Plan::default();
    for node in snapshot.nodes {
        view.manage_node(node, &mut plan);
    }
    view.drop_unplaceable(&mut plan);
    // A rollout only goes on while every node has what it should have.
    if plan.create.is_empty() && plan.delete.is_empty() {
        view.roll(&mut plan);
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan
}

impl View<'_> {
    fn manage_node(&self, node: &Node, plan: &mut Plan) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let (runs, stays) = should_run(self.snapshot.set, node);
        let Some(own) = self.by_node.get(name) else {
            if runs {
                plan.create.push(name.to_owned());
            }
            return;
        };
        if !stays {
            plan.delete.extend(own.iter().filter(|pod| !pods::is_deleting(pod)).cloned());
            return;
        }
        let mut running: Vec<&Arc<Pod>> = Vec::new();
        for pod in own.iter().filter(|pod| !pods::is_deleting(pod)) {
            match pods::phase(pod) {
                "Failed" => self.replace_failed(pod, name, plan),
                "Succeeded" => self.replace_succeeded(pod, name, plan),
                _ => running.push(pod),
            }
        }
        if !self.allows_surge() {
            plan.delete.extend(running.into_iter().skip(1).cloned());
        } else if running.is_empty() && runs {
            plan.create.push(name.to_owned());
        } else if running.len() > 1 {
            self.settle_surge(&running, plan);
        }
    }

    fn replace_failed(&self, pod: &Arc<Pod>, node: &str, plan: &mut Plan) {
        if let Some(pause) = self.snapshot.pauses.get(node) {
            plan.again_after = Some(plan.again_after.map_or(*pause, |have| have.min(*pause)));
            return;
        }
        plan.failed.push(node.to_owned());
        let pod_path = path(pod);
        let message =
            format!("Found failed daemon pod {pod_path} on node {node}, will try to kill it");
        plan.notes.push(Note::warning("FailedDaemonPod", message));
        plan.delete.push(Arc::clone(pod));
    }

    fn replace_succeeded(&self, pod: &Arc<Pod>, node: &str, plan: &mut Plan) {
        let pod_path = path(pod);
        let message =
            format!("Found succeeded daemon pod {pod_path} on node {node}, will try to delete it");
        plan.notes.push(Note::normal("SucceededDaemonPod", message));
        plan.delete.push(Arc::clone(pod));
    }

    /// Of several running pods one of each template stays until the new one can take over.
    fn settle_surge(&self, running: &[&Arc<Pod>], plan: &mut Plan) {
        let (mut new, mut old): (Option<&Arc<Pod>>, Option<&Arc<Pod>>) = (None, None);
        for pod in running {
            let slot = if self.is_updated(pod) { &mut new } else { &mut old };
            if slot.is_none() {
                *slot = Some(pod);
            } else {
                plan.delete.push(Arc::clone(pod));
            }
        }
        if let (Some(new), Some(old)) = (new, old)
            && (!pods::is_ready(old) || self.is_available(new))
        {
            plan.delete.push(Arc::clone(old));
        }
    }

    /// Pods that wait for a node that is gone will wait forever.
    fn drop_unplaceable(&self, plan: &mut Plan) {
        let known: std::collections::BTreeSet<&str> =
            self.snapshot.nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
        let strays = self.by_node.iter().filter(|(node, _)| !known.contains(node.as_str()));
        let waiting = strays.flat_map(|(_, pods)| pods).filter(|pod| pods::node(pod).is_empty());
        plan.delete.extend(waiting.filter(|pod| !pods::is_deleting(pod)).cloned());
    }
}

fn path(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), pods::name(pod))
}

/// The status to report, and when it will change by time alone.
pub fn status(snapshot: &Snapshot<'_>, now: Timestamp) -> (DaemonSetStatus, Option<Duration>) {
    let view = View::new(snapshot, now);
    let old = snapshot.set.status.clone().unwrap_or_default();
    let mut status = DaemonSetStatus {
        collision_count: old.collision_count,
        conditions: old.conditions,
        observed_generation: old.observed_generation,
        ..DaemonSetStatus::default()
    };
    if snapshot.settled {
        status.observed_generation = snapshot.set.metadata.generation;
    }
    let (mut available, mut updated) = (0, 0);
    let mut next: Option<Duration> = None;
    for node in snapshot.nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let first = view.by_node.get(name).and_then(|pods| pods.first());
        if !should_run(snapshot.set, node).0 {
            status.number_misscheduled += i32::from(first.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = first else { continue };
        status.current_number_scheduled += 1;
        updated += i32::from(view.is_updated(pod));
        let Some(wait) = pods::available_in(pod, view.min_ready_seconds(), now) else { continue };
        status.number_ready += 1;
        if wait.is_zero() {
            available += 1;
        } else {
            next = Some(next.map_or(wait, |next| next.min(wait)));
        }
    }
    let said = |count: i32| (count != 0).then_some(count);
    status.updated_number_scheduled = said(updated);
    status.number_available = said(available);
    status.number_unavailable = said(status.desired_number_scheduled - available);
    (status, next)
}
