//! Pods with names and storage of their own: which to make, update and delete, and in what order.
//!
//! [`decide`] gives steps. For an ordered set it stops at the first one that others must wait for; for a
//! parallel set there is nothing to wait for.

pub mod identity;
pub mod retention;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};

use crate::deployment::scaling::share;
use crate::{pods, revision};
use identity::ordinal;

/// A template with the name of the revision that keeps it.
#[derive(Clone, Debug)]
pub struct Version {
    /// Name of the ControllerRevision.
    pub revision: String,
    /// The template.
    pub template: PodTemplateSpec,
}

/// What is known when deciding.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The StatefulSet.
    pub set: &'a StatefulSet,
    /// Its pods, whatever their state.
    pub pods: &'a [Arc<Pod>],
    /// Claims of its namespace by name, at least those of its pods.
    pub claims: &'a BTreeMap<String, Arc<PersistentVolumeClaim>>,
    /// The version that pods have until they are rolled.
    pub current: &'a Version,
    /// The version that pods are rolled to.
    pub update: &'a Version,
    /// Hashes found taken.
    pub collisions: i32,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make the claims that are missing, then the pod.
    Create {
        /// The pod.
        pod: Box<Pod>,
        /// Its missing claims.
        claims: Vec<PersistentVolumeClaim>,
    },
    /// Make claims that a waiting pod misses.
    Claim {
        /// The pod.
        pod: Arc<Pod>,
        /// Its missing claims.
        claims: Vec<PersistentVolumeClaim>,
    },
    /// Put a pod's identity right.
    Update(Box<Pod>),
    /// Put a claim's owners right.
    Own(Box<PersistentVolumeClaim>),
    /// Delete a pod.
    Delete(Arc<Pod>),
}

/// What to do, and the status to report.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// The status.
    pub status: StatefulSetStatus,
    /// When to look again, changes or not.
    pub again_after: Option<Duration>,
}

/// Whether a pod runs, is ready and stays.
fn is_healthy(pod: &Pod) -> bool {
    pods::phase(pod) == "Running" && pods::is_ready(pod) && !pods::is_deleting(pod)
}

fn version_of(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(revision::POD_LABEL)).map_or("", String::as_str)
}

/// Whether to go on with the next pod.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Wait,
}

/// One decision in the making.
struct Work<'a> {
    snapshot: &'a Snapshot<'a>,
    set: &'a StatefulSet,
    ordered: bool,
    start: i32,
    /// The pods of the set's range, by ordinal from its start.
    replicas: Vec<Option<Arc<Pod>>>,
    /// Pods beyond the range, highest first.
    condemned: Vec<Arc<Pod>>,
    steps: Vec<Step>,
    now: Timestamp,
}

/// Decides one round.
pub fn decide(snapshot: &Snapshot<'_>, now: Timestamp) -> Plan {
    let mut work = Work::new(snapshot, now);
    let (mut status, again_after) = work.count();
    if snapshot.set.metadata.deletion_timestamp.is_none() {
        let rolled = work.run();
        let current = status.current_replicas.unwrap_or(0) - rolled;
        status.current_replicas = (current > 0).then_some(current);
    }
    work.complete_rollout(&mut status);
    Plan { steps: work.steps, status, again_after }
}

impl<'a> Work<'a> {
    fn new(snapshot: &'a Snapshot<'a>, now: Timestamp) -> Self {
        let set = snapshot.set;
        let start = identity::start(set);
        let count = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
        let mut replicas: Vec<Option<Arc<Pod>>> = vec![None; count];
        let mut condemned: Vec<(i32, Arc<Pod>)> = Vec::new();
        for pod in snapshot.pods {
            let Some(ordinal) = ordinal(set, pod) else { continue };
            let slot = usize::try_from(ordinal - start).ok().and_then(|i| replicas.get_mut(i));
            match slot {
                Some(slot) => *slot = Some(Arc::clone(pod)),
                None => condemned.push((ordinal, Arc::clone(pod))),
            }
        }
        condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
        Self {
            snapshot,
            set,
            ordered: set.spec.pod_management_policy.as_deref() != Some("Parallel"),
            start,
            replicas,
            condemned: condemned.into_iter().map(|(_, pod)| pod).collect(),
            steps: Vec::new(),
            now,
        }
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let seconds = self.set.spec.min_ready_seconds.unwrap_or(0);
        pods::phase(pod) == "Running" && pods::is_available(pod, seconds, self.now)
    }

    /// Plans the steps; the number of pods deleted to be rolled.
    fn run(&mut self) -> i32 {
        for index in 0..self.replicas.len() {
            if self.keep_replica(index) == Next::Wait && self.ordered {
                return 0;
            }
        }
        for pod in self.condemned.clone() {
            self.own_claims(&pod);
        }
        let first_unhealthy = self.first_unhealthy();
        for pod in self.condemned.clone() {
            if self.remove(&pod, first_unhealthy.as_deref()) == Next::Wait && self.ordered {
                return 0;
            }
        }
        // Parallel sets too roll only when nothing else is to be done.
        if self.steps.is_empty() { self.roll() } else { 0 }
    }

    fn ordinal_at(&self, index: usize) -> i32 {
        self.start.saturating_add(i32::try_from(index).unwrap_or(i32::MAX))
    }

    fn keep_replica(&mut self, index: usize) -> Next {
        let Some(pod) = self.replicas[index].clone() else { return self.create(index) };
        if pods::is_terminal(&pod) {
            if !pods::is_deleting(&pod) {
                self.steps.push(Step::Delete(pod));
            }
            return Next::Wait;
        }
        if pods::phase(&pod) == "Pending" && !pods::is_deleting(&pod) {
            let claims = self.missing_claims(index);
            if !claims.is_empty() {
                self.steps.push(Step::Claim { pod: Arc::clone(&pod), claims });
            }
        }
        if self.ordered && !(is_healthy(&pod) && self.is_available(&pod)) {
            return Next::Wait;
        }
        if let Some(fixed) = identity::corrected(self.set, &pod) {
            self.steps.push(Step::Update(Box::new(fixed)));
        }
        self.own_claims(&pod);
        Next::Go
    }

    fn create(&mut self, index: usize) -> Next {
        let ordinal = self.ordinal_at(index);
        let mut names = identity::claims(self.set, ordinal).into_iter();
        let is_stale = names.any(|claim| {
            let name = claim.metadata.name.unwrap_or_default();
            let found = self.snapshot.claims.get(&name);
            found.is_some_and(|claim| {
                claim.metadata.deletion_timestamp.is_some()
                    || retention::is_stale(self.set, claim, &identity::name(self.set, ordinal))
            })
        });
        // The claims of the pod before go first.
        if is_stale {
            return Next::Wait;
        }
        let version = self.version_for(ordinal);
        let pod = identity::pod(self.set, &version.template, &version.revision, ordinal);
        let claims = self.missing_claims(index);
        self.steps.push(Step::Create { pod: Box::new(pod), claims });
        Next::Wait
    }

    /// The version that a new pod gets: below the partition, or not yet rolled, the current one.
    fn version_for(&self, ordinal: i32) -> &'a Version {
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolls = strategy.and_then(|s| s.type_.as_deref()) != Some("OnDelete");
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let status = self.set.status.as_ref();
        let kept = match rolling {
            None if rolls => status.and_then(|status| status.current_replicas).unwrap_or(0),
            None => 0,
            Some(rolling) => rolling.partition.unwrap_or(0),
        };
        let old = ordinal < self.start.saturating_add(kept);
        if old { self.snapshot.current } else { self.snapshot.update }
    }

    fn missing_claims(&self, index: usize) -> Vec<PersistentVolumeClaim> {
        let mut claims = identity::claims(self.set, self.ordinal_at(index));
        claims.retain(|claim| {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            !self.snapshot.claims.contains_key(name)
        });
        claims
    }

    /// Ties a pod's claims to the set or to the pod, as the retention policy says.
    fn own_claims(&mut self, pod: &Pod) {
        let Some(ordinal) = ordinal(self.set, pod) else { return };
        for claim in identity::claims(self.set, ordinal) {
            let name = claim.metadata.name.unwrap_or_default();
            let Some(found) = self.snapshot.claims.get(&name) else { continue };
            if let Some(owned) = retention::owned(self.set, pod, ordinal, found) {
                self.steps.push(Step::Own(Box::new(owned)));
            }
        }
    }

    fn first_unhealthy(&self) -> Option<String> {
        let low_to_high = self.replicas.iter().flatten().chain(self.condemned.iter().rev());
        let mut unhealthy = low_to_high.filter(|pod| !is_healthy(pod));
        unhealthy.next().map(|pod| pods::name(pod).to_owned())
    }

    fn remove(&mut self, pod: &Arc<Pod>, first_unhealthy: Option<&str>) -> Next {
        if pods::is_deleting(pod) {
            return Next::Wait;
        }
        let is_well = is_healthy(pod) && self.is_available(pod);
        // An ordered set shrinks only while its pods are well, except by the one that is not.
        if self.ordered && !is_well && first_unhealthy != Some(pods::name(pod)) {
            return Next::Wait;
        }
        self.steps.push(Step::Delete(Arc::clone(pod)));
        Next::Wait
    }

    /// Deletes pods of an old version, highest first, as many as may be missing.
    fn roll(&mut self) -> i32 {
        let strategy = self.set.spec.update_strategy.as_ref();
        if strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete") {
            return 0;
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
        let count = i32::try_from(self.replicas.len()).unwrap_or(i32::MAX);
        let most = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let most = most.map_or(1, |most| share(Some(most), count, false).max(1));
        let lowest = usize::try_from(partition).unwrap_or(0);
        let is_missing = |pod: &Option<Arc<Pod>>| {
            !pod.as_ref().is_some_and(|pod| is_healthy(pod) && self.is_available(pod))
        };
        let mut missing = i32::try_from(self.replicas.iter().filter(|pod| is_missing(pod)).count())
            .unwrap_or(i32::MAX);
        let mut rolled = 0;
        for pod in self.replicas.clone().iter().skip(lowest).rev().flatten() {
            if version_of(pod) == self.snapshot.update.revision || pods::is_deleting(pod) {
                continue;
            }
            let counted = !(is_healthy(pod) && self.is_available(pod));
            // Replacing a pod that is missed already costs nothing.
            if !counted && missing >= most {
                continue;
            }
            if self.ordered && most == 1 && self.waits_for_higher(pod) {
                break;
            }
            missing += i32::from(!counted);
            rolled += i32::from(version_of(pod) == self.snapshot.current.revision);
            self.steps.push(Step::Delete(Arc::clone(pod)));
            if most == 1 {
                break;
            }
        }
        rolled
    }

    /// Whether a pod with a higher ordinal is not well: the rollout waits for it.
    fn waits_for_higher(&self, pod: &Pod) -> bool {
        let own = ordinal(self.set, pod);
        self.replicas.iter().flatten().any(|other| {
            ordinal(self.set, other) > own && !(is_healthy(other) && self.is_available(other))
        })
    }
}
