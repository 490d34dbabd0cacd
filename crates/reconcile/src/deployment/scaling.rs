//! How many replicas each ReplicaSet gets: bounds of a rollout, and shares when the whole is scaled.

use std::cmp::Reverse;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::draft::{Draft, Drafts};
use super::{DESIRED_REPLICAS, MAX_REPLICAS, Work};
use crate::pods;

/// A count or a share of `whole`, rounded up or down; nothing when it cannot be read.
pub fn share(value: Option<&IntOrString>, whole: i32, round_up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(count)) => *count,
        Some(IntOrString::String(text)) => {
            let Some(percent) = text.strip_suffix('%').and_then(|text| text.parse::<i64>().ok())
            else {
                return 0;
            };
            let scaled = percent.saturating_mul(i64::from(whole));
            let share = if round_up { (scaled + 99).div_euclid(100) } else { scaled / 100 };
            i32::try_from(share).unwrap_or(i32::MAX)
        }
    }
}

/// Replicas of the new ReplicaSet when it grows as far as the surge allows.
pub(crate) fn grown(drafts: &Drafts, wanted: i32, surge: i32) -> i32 {
    let have = drafts.new.as_ref().map_or(0, Draft::replicas);
    // A ReplicaSet that was shrunk holds its room until its pods are really on their way out.
    let held: i32 = drafts.all().map(|draft| draft.replicas().max(draft.actual())).sum();
    let room = wanted.saturating_add(surge) - held;
    if room <= 0 { have } else { have + room.min(wanted - have) }
}

impl Work<'_> {
    fn fenceposts(&self) -> (i32, i32) {
        let strategy = self.spec.strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let wanted = self.replicas();
        let surge = share(rolling.and_then(|rolling| rolling.max_surge.as_ref()), wanted, true);
        let unavailable =
            share(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), wanted, false);
        // Both nothing would forbid every step: one pod may be missing then.
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    /// Replicas allowed beyond those wanted.
    pub(crate) fn max_surge(&self) -> i32 {
        if self.strategy() == "Recreate" { 0 } else { self.fenceposts().0 }
    }

    /// Replicas that may be missing.
    pub(crate) fn max_unavailable(&self) -> i32 {
        if self.strategy() == "Recreate" || self.replicas() == 0 {
            return 0;
        }
        self.fenceposts().1.min(self.replicas())
    }

    /// Whether the Deployment's size was changed since its ReplicaSets were scaled.
    pub(crate) fn is_scaled(&self) -> bool {
        let mut active = self.drafts.all().filter(|draft| draft.is_active());
        active.any(|draft| draft.count(DESIRED_REPLICAS).is_some_and(|was| was != self.replicas()))
    }

    /// Brings the ReplicaSets to the Deployment's size without moving the rollout.
    pub(crate) fn scale_proportionally(&mut self) {
        let (wanted, most) = (self.replicas(), self.replicas() + self.max_surge());
        let active = self.drafts.all().filter(|draft| draft.is_active()).count();
        if active <= 1 {
            if let Some(draft) = self.active_or_latest().filter(|draft| draft.replicas() != wanted)
            {
                draft.scale(wanted, wanted, most);
            }
            return;
        }
        if self.is_saturated() {
            for draft in self.drafts.old.iter_mut().filter(|draft| draft.is_active()) {
                draft.scale(0, wanted, most);
            }
        } else if self.strategy() != "Recreate" {
            self.spread(wanted, most);
        }
    }

    /// The only active ReplicaSet, or when none is active the new or else the youngest.
    fn active_or_latest(&mut self) -> Option<&mut Draft> {
        let index = self.drafts.all().position(Draft::is_active);
        if let Some(index) = index {
            return self.drafts.all_mut().nth(index);
        }
        let Drafts { new, old } = &mut self.drafts;
        new.as_mut().or_else(|| old.last_mut())
    }

    fn is_saturated(&self) -> bool {
        let wanted = self.replicas();
        self.drafts.new.as_ref().is_some_and(|new| {
            new.replicas() == wanted
                && new.count(DESIRED_REPLICAS) == Some(wanted)
                && new.available() == wanted
        })
    }

    /// Shares the difference between the active ReplicaSets by their size.
    fn spread(&mut self, wanted: i32, most: i32) {
        let allowed = if wanted > 0 { most } else { 0 };
        let old_total = self.old.replicas.unwrap_or(0);
        let mut active: Vec<&mut Draft> =
            self.drafts.all_mut().filter(|draft| draft.is_active()).collect();
        let to_add = allowed - active.iter().map(|draft| draft.replicas()).sum::<i32>();
        let created = |draft: &Draft| pods::created(&draft.set.metadata);
        if to_add > 0 {
            active.sort_by_key(|draft| Reverse((draft.replicas(), created(draft))));
        } else {
            active.sort_by_key(|draft| (Reverse(draft.replicas()), created(draft)));
        }
        let mut added = 0;
        let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
        for draft in &active {
            let part = proportion(draft, wanted, most, old_total, to_add, added);
            added += part;
            sizes.push(draft.replicas() + part);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (draft, size) in active.into_iter().zip(sizes) {
            draft.scale(size, wanted, most);
        }
    }
}

fn proportion(
    draft: &Draft,
    wanted: i32,
    most: i32,
    old_total: i32,
    to_add: i32,
    added: i32,
) -> i32 {
    if draft.replicas() == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(draft, wanted, most, old_total);
    let left = to_add - added;
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

/// By how much a ReplicaSet changes when it keeps its share of the whole.
fn fraction(draft: &Draft, wanted: i32, most: i32, old_total: i32) -> i32 {
    let have = draft.replicas();
    if wanted == 0 {
        return -have;
    }
    let before = draft.count(MAX_REPLICAS).filter(|most| *most != 0).unwrap_or(old_total);
    if before == 0 {
        return 0;
    }
    // Rounded half up, in whole numbers.
    let (product, before) = (i64::from(have) * i64::from(most), i64::from(before));
    let size = (2 * product + before).div_euclid(2 * before);
    i32::try_from(size).unwrap_or(i32::MAX) - have
}
