//! What the scheduler knows, and what it wants done: changes and outcomes in, tasks out.
//!
//! Decides only; nothing here waits, writes or asks for the time. The other halves are in `observe` (what
//! changes do) and [`crate::act`] (how tasks are carried out).

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use scheduling::{
    Cursor, Decision, Nomination, PodInfo, Profile, Snapshot,
    event::{Change, Event},
    framework::Cycle,
    plugins::volume_binding::{self, VolumePlan},
    schedule,
};

use crate::{
    config::Config,
    queue::{Queue, Uid},
    volumes,
};

/// Something to be written to the API.
#[derive(Debug)]
pub(crate) enum Task {
    /// Bind the pod, after its claims.
    Bind { pod: Arc<PodInfo>, node: String, plan: VolumePlan },
    /// Say why the pod has no node, and make room for it if that helps.
    Report { pod: Arc<PodInfo>, reason: &'static str, message: String, nomination: Nomination },
}

impl Task {
    /// The pod that it is about.
    pub(crate) fn pod(&self) -> &Arc<PodInfo> {
        match self {
            Self::Bind { pod, .. } | Self::Report { pod, .. } => pod,
        }
    }
}

/// How a task ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The pod is bound.
    Bound(Uid),
    /// It is not; why.
    BindFailed(Uid, String),
    /// Some victims could not be removed.
    PreemptionFailed(Uid),
}

/// The pod fits nowhere.
pub(crate) const UNSCHEDULABLE: &str = "Unschedulable";
/// Something else went wrong.
pub(crate) const SCHEDULER_ERROR: &str = "SchedulerError";

const NO_NODES: &str = "no nodes available to schedule pods";

#[derive(Debug)]
struct Assumed {
    plan: VolumePlan,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) snapshot: Snapshot,
    queue: Queue,
    profiles: HashMap<String, Arc<Profile>>,
    cursor: Cursor,
    /// Pods by namespace and name, as last seen.
    known: HashMap<(Box<str>, Box<str>), Arc<PodInfo>>,
    /// Pods that are being bound, or are bound but not yet seen so.
    assumed: HashMap<Uid, Assumed>,
}

impl State {
    pub(crate) fn new(config: Config, rng: fastrand::Rng) -> Self {
        let profiles = config.profiles.into_iter();
        Self {
            snapshot: Snapshot::new(),
            queue: Queue::new(config.backoff_min, config.backoff_max),
            profiles: profiles.map(|profile| (profile.name.clone(), profile)).collect(),
            cursor: Cursor::new(rng),
            known: HashMap::new(),
            assumed: HashMap::new(),
        }
    }

    /// The names of the profiles.
    pub(crate) fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }

    /// Whether [`State::next`] would give a task.
    pub(crate) fn has_work(&self) -> bool {
        self.queue.has_work()
    }

    /// When [`State::flush`] will have something to do.
    pub(crate) fn next_flush(&self) -> Option<Timestamp> {
        self.queue.next_flush()
    }

    /// Lets pods go on whose pause is over.
    pub(crate) fn flush(&mut self, now: Timestamp) {
        self.queue.flush(now);
    }

    /// Decides on the next pod.
    pub(crate) fn next(&mut self, now: Timestamp) -> Option<Task> {
        let pod = self.queue.pop()?;
        let Some(profile) = self.profiles.get(pod.scheduler_name()) else {
            self.queue.remove(&pod.uid);
            return None;
        };
        self.snapshot.prepare(&pod);
        match schedule(&self.snapshot, &pod, profile, &mut self.cursor, now) {
            Decision::Place(placement) => Some(self.assume(pod, placement.node, now)),
            Decision::Leave(error, preemption) => {
                self.queue.wait(&pod.uid, error.diagnosis.plugins.clone(), now);
                self.note_nomination(&pod, &preemption.nomination);
                let message = error.to_string();
                let nomination = preemption.nomination;
                Some(Task::Report { pod, reason: UNSCHEDULABLE, message, nomination })
            }
            Decision::NoNodes => {
                self.queue.wait(&pod.uid, std::collections::BTreeSet::new(), now);
                let message = NO_NODES.to_owned();
                let nomination = Nomination::Clear;
                self.note_nomination(&pod, &nomination);
                Some(Task::Report { pod, reason: UNSCHEDULABLE, message, nomination })
            }
        }
    }

    /// Takes the pod for placed, so that the next decision already counts it.
    fn assume(&mut self, pod: Arc<PodInfo>, node: String, now: Timestamp) -> Task {
        let cycle = Cycle { snapshot: &self.snapshot, pod: &pod, now };
        let plan = match self.snapshot.node(&node).map(|info| volume_binding::plan(cycle, info)) {
            Some(Ok(plan)) => plan,
            Some(Err(rejection)) => {
                let message = rejection.message();
                self.queue.retry(&pod.uid, now);
                return Task::Report {
                    pod,
                    reason: SCHEDULER_ERROR,
                    message,
                    nomination: Nomination::Clear,
                };
            }
            None => VolumePlan::default(),
        };
        let plan = volumes::assumed(&plan, &node);
        for (volume, _) in &plan.bindings {
            self.snapshot.volumes.assume(Arc::clone(volume));
        }
        for claim in &plan.provisions {
            self.snapshot.claims.assume(Arc::clone(claim));
        }
        self.snapshot.withdraw_nomination(&pod.uid);
        self.snapshot.set_pod(Arc::clone(&pod), &node);
        self.assumed.insert(Arc::clone(&pod.uid), Assumed { plan: plan.clone() });
        Task::Bind { pod, node, plan }
    }

    fn note_nomination(&mut self, pod: &Arc<PodInfo>, nomination: &Nomination) {
        match nomination {
            Nomination::Keep => {}
            Nomination::Clear => {
                self.snapshot.withdraw_nomination(&pod.uid);
            }
            Nomination::Node { name, outbid, .. } => {
                for other in outbid {
                    self.snapshot.withdraw_nomination(&other.uid);
                }
                self.snapshot.nominate(Arc::clone(pod), name);
            }
        }
    }

    /// Takes note of how a task ended; a failed one is reported.
    pub(crate) fn finish(&mut self, outcome: Outcome, now: Timestamp) -> Option<Task> {
        match outcome {
            Outcome::Bound(uid) => {
                self.queue.remove(&uid);
                None
            }
            Outcome::BindFailed(uid, message) => self.unbind(&uid, message, now),
            Outcome::PreemptionFailed(uid) => {
                self.queue.activate_waiting(&uid, now);
                None
            }
        }
    }

    /// Takes a placement back. What happened to the pod meanwhile was not looked at, so it is now.
    fn unbind(&mut self, uid: &str, message: String, now: Timestamp) -> Option<Task> {
        let assumed = self.assumed.remove(uid)?;
        self.revert(&assumed.plan);
        let pod = self.snapshot.remove_pod(uid)?;
        self.wake(&Event::AssignedPod(Change { old: Some(&pod), new: None }), now);
        let key = (Box::from(pod.namespace()), Box::from(pod.name()));
        let newest = self.known.get(&key).filter(|newest| *newest.uid == *uid);
        let Some(newest) = newest.filter(|newest| !newest.is_terminating()).map(Arc::clone) else {
            self.queue.remove(uid);
            return None;
        };
        self.queue.update(newest, None, now);
        self.queue.retry(uid, now);
        let nomination = Nomination::Clear;
        Some(Task::Report { pod, reason: SCHEDULER_ERROR, message, nomination })
    }

    fn revert(&mut self, plan: &VolumePlan) {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        for (volume, _) in &plan.bindings {
            self.snapshot.volumes.revert("", &name(&volume.metadata.name));
        }
        for claim in &plan.provisions {
            let namespace = name(&claim.metadata.namespace);
            self.snapshot.claims.revert(&namespace, &name(&claim.metadata.name));
        }
    }

    /// Lets waiting pods be tried again that `event` may help. A pod that nobody rejected waits for nodes.
    pub(crate) fn wake(&mut self, event: &Event<'_>, now: Timestamp) {
        let profiles = &self.profiles;
        self.queue.wake(now, |pod, rejected_by| match profiles.get(pod.scheduler_name()) {
            None => false,
            Some(_) if rejected_by.is_empty() => {
                matches!(event, Event::Node(change) if change.is_added())
            }
            Some(profile) => profile.wakes(rejected_by, event, pod),
        });
    }

    /// Takes note of the newest state of a node.
    pub(crate) fn observe_node(&mut self, name: &str, new: Option<&Arc<Node>>, now: Timestamp) {
        let old = self.snapshot.node(name).map(|info| Arc::clone(&info.node));
        match new {
            Some(node) => self.snapshot.set_node(Arc::clone(node)),
            None => self.snapshot.remove_node(name),
        }
        let change = Change { old: old.as_deref(), new: new.map(|node| &**node) };
        // Kubelets report often, and what they report rarely changes what a plugin looks at.
        let part = |node: &Node| {
            let allocatable = node.status.as_ref().and_then(|status| status.allocatable.clone());
            (node.metadata.labels.clone(), node.spec.clone(), allocatable)
        };
        if change.deleted().is_some() || change.differs(part) {
            self.wake(&Event::Node(change), now);
        }
    }

    /// Takes note of the newest state of a pod.
    pub(crate) fn observe_pod(
        &mut self,
        namespace: &str,
        name: &str,
        new: Option<Arc<Pod>>,
        now: Timestamp,
    ) {
        let key = (Box::from(namespace), Box::from(name));
        let new = new.map(|pod| Arc::new(PodInfo::new(pod))).filter(|pod| !pod.is_finished());
        let mut old = match &new {
            Some(new) => self.known.insert(key, Arc::clone(new)),
            None => self.known.remove(&key),
        };
        if let Some(gone) = &old
            && new.as_ref().is_none_or(|new| new.uid != gone.uid)
        {
            self.pod_gone(gone, now);
            old = None;
        }
        match new {
            Some(new) if new.node_name().is_some() => self.pod_assigned(old.as_deref(), &new, now),
            Some(new) => self.pod_waits(old.as_deref(), &new, now),
            None => {}
        }
    }

    fn pod_gone(&mut self, pod: &Arc<PodInfo>, now: Timestamp) {
        self.queue.remove(&pod.uid);
        let nominated = self.snapshot.withdraw_nomination(&pod.uid);
        if let Some(assumed) = self.assumed.remove(&pod.uid) {
            self.revert(&assumed.plan);
        }
        if self.snapshot.remove_pod(&pod.uid).is_some() || nominated {
            self.wake(&Event::AssignedPod(Change { old: Some(pod), new: None }), now);
        }
    }

    fn pod_assigned(&mut self, old: Option<&PodInfo>, new: &Arc<PodInfo>, now: Timestamp) {
        let Some(node) = new.node_name() else { return };
        self.queue.remove(&new.uid);
        self.snapshot.withdraw_nomination(&new.uid);
        self.assumed.remove(&new.uid);
        self.snapshot.set_pod(Arc::clone(new), node);
        let old = old.filter(|old| old.node_name().is_some());
        // Kubelets report often, and what they report rarely changes what a plugin looks at.
        let same = |old: &PodInfo| old.labels() == new.labels() && old.requests == new.requests;
        if !old.is_some_and(same) {
            self.wake(&Event::AssignedPod(Change { old, new: Some(new) }), now);
        }
    }

    fn pod_waits(&mut self, old: Option<&PodInfo>, new: &Arc<PodInfo>, now: Timestamp) {
        let Some(profile) = self.profiles.get(new.scheduler_name()) else { return };
        if self.assumed.contains_key(&new.uid) {
            return;
        }
        if new.is_terminating() {
            self.queue.remove(&new.uid);
            self.snapshot.withdraw_nomination(&new.uid);
            return;
        }
        let gated_by = profile.admit(new).err().map(|(plugin, _)| plugin);
        self.follow_nomination(old, new);
        let Some(old) = old.filter(|_| self.queue.contains(&new.uid)) else {
            self.queue.add(Arc::clone(new), gated_by, now);
            return;
        };
        self.queue.update(Arc::clone(new), gated_by, now);
        // Most updates are the scheduler's own reports and change nothing that a plugin looks at.
        if old.pod.spec != new.pod.spec || old.labels() != new.labels() {
            self.wake(&Event::WaitingPod(Change { old: Some(old), new: Some(new) }), now);
        }
    }

    /// Nominations survive a restart in the pod's status; a change there overrides what was decided here.
    fn follow_nomination(&mut self, old: Option<&PodInfo>, new: &Arc<PodInfo>) {
        let before = old.and_then(PodInfo::nominated_node_name);
        match new.nominated_node_name() {
            Some(node) if before != Some(node) => self.snapshot.nominate(Arc::clone(new), node),
            None if before.is_some() => {
                self.snapshot.withdraw_nomination(&new.uid);
            }
            _ => {}
        }
    }
}
