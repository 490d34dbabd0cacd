//! Pods that have no node yet: ready to be tried, pausing, or waiting for the cluster to change.
//!
//! No clock and no tasks: time is an argument. Bounded by the number of such pods.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use scheduling::PodInfo;

use crate::limits::{EARLY_TRIES_MAX, UNSCHEDULABLE_MAX};

/// A pod's identity.
pub(crate) type Uid = Arc<str>;
/// Plugins that keep a pod from being placed.
pub(crate) type Plugins = BTreeSet<&'static str>;

/// More important first, then who came first.
type ActiveKey = (Reverse<i32>, Timestamp, u64, Uid);

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Active(ActiveKey),
    /// Until then; a pod that failed for want of a node may go earlier when nobody else wants to.
    Backoff {
        until: Timestamp,
        early: bool,
    },
    /// Since then.
    Unschedulable(Timestamp),
    /// A plugin does not let it in.
    Gated,
    /// Being decided on or bound.
    InFlight,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<PodInfo>,
    place: Place,
    attempts: u32,
    failed_at: Timestamp,
    rejected_by: Plugins,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Queue {
    entries: HashMap<Uid, Entry>,
    active: BTreeSet<ActiveKey>,
    backoff: BTreeSet<(Timestamp, Uid)>,
    unschedulable: BTreeSet<(Timestamp, Uid)>,
    sequence: u64,
    backoff_min: Duration,
    backoff_max: Duration,
}

impl Queue {
    pub(crate) fn new(backoff_min: Duration, backoff_max: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            unschedulable: BTreeSet::new(),
            sequence: 0,
            backoff_min,
            backoff_max,
        }
    }

    /// Whether the pod is in the queue or in flight.
    pub(crate) fn contains(&self, uid: &str) -> bool {
        self.entries.contains_key(uid)
    }

    /// Adds a new pod, held back when `gated_by` names a plugin.
    pub(crate) fn add(
        &mut self,
        pod: Arc<PodInfo>,
        gated_by: Option<&'static str>,
        now: Timestamp,
    ) {
        let uid = Arc::clone(&pod.uid);
        let entry = Entry {
            pod,
            place: Place::Gated,
            attempts: 0,
            failed_at: now,
            rejected_by: gated_by.into_iter().collect(),
        };
        self.entries.insert(Arc::clone(&uid), entry);
        if gated_by.is_none() {
            self.activate(&uid, now);
        }
    }

    /// Replaces the object of a pod without trying it again, except when it is let in just now.
    pub(crate) fn update(
        &mut self,
        pod: Arc<PodInfo>,
        gated_by: Option<&'static str>,
        now: Timestamp,
    ) {
        let uid = Arc::clone(&pod.uid);
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        entry.pod = pod;
        if entry.place == Place::Gated && gated_by.is_none() {
            self.activate(&uid, now);
        } else if let Place::Active(key) = &entry.place
            && key.0.0 != entry.pod.priority
        {
            self.activate(&uid, now);
        }
    }

    /// Forgets a pod.
    pub(crate) fn remove(&mut self, uid: &str) {
        self.leave_place(uid);
        self.entries.remove(uid);
    }

    /// Takes the pod to try next.
    pub(crate) fn pop(&mut self) -> Option<Arc<PodInfo>> {
        let uid = match self.active.first() {
            Some((_, _, _, uid)) => Arc::clone(uid),
            None => {
                let early = |uid: &Uid| {
                    self.entries.get(uid).is_some_and(|entry| {
                        matches!(entry.place, Place::Backoff { early: true, .. })
                    })
                };
                let (_, uid) = self.backoff.iter().find(|(_, uid)| early(uid))?;
                Arc::clone(uid)
            }
        };
        self.leave_place(&uid);
        let entry = self.entries.get_mut(&uid)?;
        entry.place = Place::InFlight;
        entry.attempts += 1;
        Some(Arc::clone(&entry.pod))
    }

    /// Whether [`Queue::pop`] would give a pod.
    pub(crate) fn has_work(&self) -> bool {
        !self.active.is_empty()
            || self.backoff.iter().any(|(_, uid)| {
                self.entries
                    .get(uid)
                    .is_some_and(|entry| matches!(entry.place, Place::Backoff { early: true, .. }))
            })
    }

    /// No node would do: the pod waits until one of `rejected_by` may think otherwise.
    pub(crate) fn wait(&mut self, uid: &str, rejected_by: Plugins, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.rejected_by = rejected_by;
        entry.failed_at = now;
        entry.place = Place::Unschedulable(now);
        self.unschedulable.insert((now, Arc::clone(&entry.pod.uid)));
    }

    /// Something went wrong that has nothing to do with the pod: it is tried again after a pause.
    pub(crate) fn retry(&mut self, uid: &str, now: Timestamp) {
        self.leave_place(uid);
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.rejected_by.clear();
        entry.failed_at = now;
        self.pause(uid, false);
    }

    /// Tries the pod again without waiting for a change.
    pub(crate) fn activate_waiting(&mut self, uid: &str, now: Timestamp) {
        if matches!(self.entries.get(uid), Some(entry) if matches!(entry.place, Place::Unschedulable(_)))
        {
            self.activate(uid, now);
        }
    }

    /// Lets waiting pods be tried again that `wakes` says a change may have helped.
    pub(crate) fn wake(&mut self, now: Timestamp, wakes: impl Fn(&PodInfo, &Plugins) -> bool) {
        if self.unschedulable.is_empty() {
            return;
        }
        let waiting = self.unschedulable.iter().map(|(_, uid)| uid);
        let woken: Vec<Uid> = waiting
            .filter(|uid| {
                self.entries.get(*uid).is_some_and(|entry| wakes(&entry.pod, &entry.rejected_by))
            })
            .map(Arc::clone)
            .collect();
        for uid in woken {
            self.leave_place(&uid);
            self.resume(&uid, now);
        }
    }

    /// Lets pods go on whose pause is over, or that have waited for a change for too long.
    pub(crate) fn flush(&mut self, now: Timestamp) {
        while let Some((until, uid)) = self.backoff.first().cloned()
            && until <= now
        {
            self.activate(&uid, now);
        }
        while let Some((since, uid)) = self.unschedulable.first().cloned()
            && since + UNSCHEDULABLE_MAX <= now
        {
            self.leave_place(&uid);
            self.resume(&uid, now);
        }
    }

    /// When [`Queue::flush`] will have something to do.
    pub(crate) fn next_flush(&self) -> Option<Timestamp> {
        let backoff = self.backoff.first().map(|(until, _)| *until);
        let waiting = self.unschedulable.first().map(|(since, _)| *since + UNSCHEDULABLE_MAX);
        backoff.into_iter().chain(waiting).min()
    }

    fn activate(&mut self, uid: &str, now: Timestamp) {
        self.leave_place(uid);
        let Some(entry) = self.entries.get_mut(uid) else { return };
        self.sequence += 1;
        let key = (Reverse(entry.pod.priority), now, self.sequence, Arc::clone(&entry.pod.uid));
        entry.place = Place::Active(key.clone());
        self.active.insert(key);
    }

    /// Active, or pausing when the last failure is too recent.
    fn resume(&mut self, uid: &str, now: Timestamp) {
        let Some(entry) = self.entries.get(uid) else { return };
        if entry.failed_at + self.pause_after(entry.attempts) <= now {
            self.activate(uid, now);
        } else {
            // The first few tries should not wait; many, in a cluster that changes all the time, must.
            let early = entry.attempts <= EARLY_TRIES_MAX;
            self.pause(uid, early);
        }
    }

    fn pause(&mut self, uid: &str, early: bool) {
        let Some(attempts) = self.entries.get(uid).map(|entry| entry.attempts) else { return };
        let pause = self.pause_after(attempts);
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let until = entry.failed_at + pause;
        entry.place = Place::Backoff { until, early };
        self.backoff.insert((until, Arc::clone(&entry.pod.uid)));
    }

    fn pause_after(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        self.backoff_min.saturating_mul(1 << doublings).min(self.backoff_max)
    }

    fn leave_place(&mut self, uid: &str) {
        let Some(entry) = self.entries.get(uid) else { return };
        match &entry.place {
            Place::Active(key) => drop(self.active.remove(key)),
            Place::Backoff { until, .. } => {
                self.backoff.remove(&(*until, Arc::clone(&entry.pod.uid)));
            }
            Place::Unschedulable(since) => {
                self.unschedulable.remove(&(*since, Arc::clone(&entry.pod.uid)));
            }
            Place::Gated | Place::InFlight => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;
    use scheduling::build::pod;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + seconds.seconds()
    }

    fn queue() -> Queue {
        Queue::new(Duration::from_secs(1), Duration::from_secs(10))
    }

    fn next(queue: &mut Queue) -> Option<String> {
        queue.pop().map(|pod| pod.name().to_owned())
    }

    fn fit() -> Plugins {
        Plugins::from(["NodeResourcesFit"])
    }

    #[test]
    fn important_pods_go_first_then_the_oldest() {
        let mut queue = queue();
        queue.add(pod("a").info(), None, at(1));
        queue.add(pod("b").info(), None, at(0));
        queue.add(pod("c").info(), None, at(1));
        queue.add(pod("vip").priority(9).info(), None, at(2));
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(order, ["vip", "b", "a", "c"]);
    }

    #[test]
    fn a_pod_that_fits_nowhere_waits_for_a_change_that_helps() {
        let mut queue = queue();
        queue.add(pod("a").info(), None, at(0));
        queue.pop();
        queue.wait("a", fit(), at(0));
        assert_eq!(next(&mut queue), None);
        queue.wake(at(1), |_, rejected_by| rejected_by.contains("Other"));
        assert_eq!(next(&mut queue), None);
        queue.wake(at(1), |_, rejected_by| rejected_by.contains("NodeResourcesFit"));
        assert_eq!(next(&mut queue).as_deref(), Some("a"));
    }

    #[test]
    fn a_pausing_pod_goes_early_only_when_nobody_else_wants_to() {
        let mut queue = queue();
        queue.add(pod("a").info(), None, at(0));
        queue.pop();
        queue.wait("a", fit(), at(0));
        queue.wake(at(0), |_, _| true);
        queue.add(pod("b").priority(-5).info(), None, at(0));
        assert_eq!(next(&mut queue).as_deref(), Some("b"));
        assert_eq!(next(&mut queue).as_deref(), Some("a"));
    }

    #[test]
    fn a_pod_that_failed_often_sits_its_pauses_out() {
        let mut queue = queue();
        queue.add(pod("a").info(), None, at(0));
        let tries = std::iter::from_fn(|| {
            queue.pop()?;
            queue.wait("a", fit(), at(0));
            queue.wake(at(0), |_, _| true);
            Some(())
        });
        assert_eq!(tries.count(), 4);
        queue.flush(at(8));
        assert_eq!(next(&mut queue).as_deref(), Some("a"));
    }

    #[test]
    fn failures_pause_longer_and_longer() {
        let mut queue = queue();
        queue.add(pod("a").info(), None, at(0));
        let mut now = at(0);
        for seconds in [1, 2, 4, 8, 10, 10] {
            assert_eq!(next(&mut queue).as_deref(), Some("a"));
            queue.retry("a", now);
            assert_eq!(next(&mut queue), None, "not before the pause is over");
            assert_eq!(queue.next_flush(), Some(now + seconds.seconds()));
            now += seconds.seconds();
            queue.flush(now);
        }
    }

    #[test]
    fn waiting_ends_after_five_minutes() {
        let mut queue = queue();
        queue.add(pod("a").info(), None, at(0));
        queue.pop();
        queue.wait("a", fit(), at(0));
        queue.flush(at(299));
        assert_eq!(next(&mut queue), None);
        assert_eq!(queue.next_flush(), Some(at(300)));
        queue.flush(at(300));
        assert_eq!(next(&mut queue).as_deref(), Some("a"));
    }

    #[test]
    fn gates_open_once() {
        let mut queue = queue();
        queue.add(pod("a").gate("g").info(), Some("SchedulingGates"), at(0));
        queue.wake(at(0), |_, _| true);
        queue.flush(at(1000));
        assert_eq!(next(&mut queue), None);
        queue.update(pod("a").info(), None, at(1000));
        assert_eq!(next(&mut queue).as_deref(), Some("a"));
    }

    #[test]
    fn a_pod_that_goes_is_nowhere() {
        let mut queue = queue();
        for name in ["active", "waiting", "pausing", "flying"] {
            queue.add(pod(name).info(), None, at(0));
        }
        for _ in 0..4 {
            queue.pop();
        }
        queue.wait("waiting", fit(), at(0));
        queue.retry("pausing", at(0));
        queue.add(pod("active").info(), None, at(0));
        for name in ["active", "waiting", "pausing", "flying", "unknown"] {
            queue.remove(name);
            queue.remove(name);
            queue.retry(name, at(0));
            queue.wait(name, fit(), at(0));
            assert!(!queue.contains(name));
        }
        assert_eq!((next(&mut queue), queue.next_flush(), queue.has_work()), (None, None, false));
    }
}
