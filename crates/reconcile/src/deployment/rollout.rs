//! Moving pods from the old ReplicaSets to the new one.

use super::Work;
use super::draft::Draft;

impl Work<'_> {
    /// A rolling update's next step: growing within the surge, else shrinking within what may be missing.
    pub(crate) fn roll(&mut self) {
        self.sync_revision(true);
        if !self.grow_new() && !self.shrink_old() && self.is_complete(&self.old) {
            self.clean_up();
        }
    }

    fn grow_new(&mut self) -> bool {
        let (wanted, surge) = (self.replicas(), self.max_surge());
        let grown = super::scaling::grown(&self.drafts, wanted, surge);
        let Some(new) = self.drafts.new.as_mut() else { return false };
        let have = new.replicas();
        let size = if have > wanted { wanted } else { grown };
        if have == size {
            return false;
        }
        new.scale(size, wanted, wanted + surge);
        // A ReplicaSet that is only being made had its size from the start: shrinking may go on.
        true
    }

    fn shrink_old(&mut self) -> bool {
        let min_available = self.replicas() - self.max_unavailable();
        let new_missing =
            self.drafts.new.as_ref().map_or(0, |new| new.replicas() - new.available());
        let room = self.drafts.replicas() - min_available - new_missing;
        if room <= 0 || self.drafts.old.iter().all(|draft| !draft.is_active()) {
            return false;
        }
        let unhealthy = self.shrink(room, |draft| (draft.replicas() - draft.available()).max(0));
        // A ReplicaSet that was just shrunk still reports the pods it is about to lose: they are spoken
        // for. And what was not available is not taken away twice.
        let kept: i32 =
            self.drafts.all().map(|draft| draft.available().min(draft.replicas())).sum();
        let spare = (kept - min_available).min(room - unhealthy);
        let healthy = if spare > 0 { self.shrink(spare, Draft::replicas) } else { 0 };
        unhealthy + healthy > 0
    }

    /// Takes up to `most` replicas from the old ReplicaSets, oldest first, from each at most `part`.
    fn shrink(&mut self, most: i32, part: impl Fn(&Draft) -> i32) -> i32 {
        let (wanted, allowed) = (self.replicas(), self.replicas() + self.max_surge());
        let mut taken = 0;
        for draft in self.drafts.old.iter_mut().filter(|draft| draft.is_active()) {
            let size = draft.replicas();
            let less = part(draft).min(most - taken);
            if less > 0 {
                draft.scale(size - less, wanted, allowed);
                taken += less;
            }
        }
        taken
    }

    /// Recreate: every old pod ends before the first new one starts.
    pub(crate) fn recreate(&mut self) {
        let wanted = self.replicas();
        let mut shrunk = false;
        for draft in self.drafts.old.iter_mut().filter(|draft| draft.is_active()) {
            draft.scale(0, wanted, wanted);
            shrunk = true;
        }
        if shrunk || self.old_pods_run() {
            return;
        }
        self.sync_revision(true);
        if let Some(new) = self.drafts.new.as_mut().filter(|new| new.replicas() != wanted) {
            new.scale(wanted, wanted, wanted);
        }
        if self.is_complete(&self.old) {
            self.clean_up();
        }
    }

    fn old_pods_run(&self) -> bool {
        let new_uid = self.drafts.new.as_ref().and_then(|new| new.set.metadata.uid.as_ref());
        self.drafts.old.iter().any(|draft| draft.actual() > 0)
            || self.running.iter().any(|uid| Some(uid) != new_uid)
    }
}
