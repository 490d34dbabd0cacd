//! Seats and queues of the priority levels: who runs, who waits, who is refused.
//!
//! Pure: a request arrives and finishes, and the answer says whom to wake. Within a level the queues take turns by
//! start-time fair queueing, so that a flow with many requests does not starve one with few. Between levels the
//! seats that a level lends and does not use itself form one pool that the others borrow from; who has less than
//! its own share is served first when a seat is free again. Upstream moves the lent seats every ten seconds; here
//! they move with every request.

use std::collections::{BTreeMap, VecDeque};

/// How many seats a level has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Its requests never wait.
    pub exempt: bool,
    /// Its share.
    pub nominal: u32,
    /// The part of its share that others may use.
    pub lendable: u32,
    /// How many seats beyond its share it may use.
    pub borrowing: u32,
    /// Where its requests wait; without queues they are refused.
    pub queuing: Option<Queuing>,
}

/// The queues of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queuing {
    /// How many.
    pub queues: u64,
    /// Among how many of them a flow's requests are spread.
    pub hand: u64,
    /// Requests in one queue.
    pub length_max: usize,
}

/// Why a request is refused, by upstream's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No seat, and no queue to wait in.
    ConcurrencyLimit,
    /// The flow's queues are full.
    QueueFull,
    /// It waited too long.
    TimeOut,
    /// The client left.
    Cancelled,
}

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It has its seats.
    Runs,
    /// It is in a queue under this number.
    Waits(u64),
    /// It is not served.
    Refused(Refusal),
}

/// A level's place in [`Seats`].
pub(crate) type Slot = usize;

/// All levels; `W` wakes a waiting request.
#[derive(Debug)]
pub(crate) struct Seats<W> {
    levels: Vec<Level<W>>,
    by_name: BTreeMap<String, Slot>,
    waiting: usize,
    next_number: u64,
}

#[derive(Debug)]
struct Level<W> {
    limits: Limits,
    in_use: u32,
    /// Only those in which somebody waits.
    queues: BTreeMap<u64, Queue<W>>,
    waiting: usize,
    /// The virtual time at which the request that ran last began.
    now: u64,
}

#[derive(Debug)]
struct Queue<W> {
    requests: VecDeque<Waiting<W>>,
    /// The virtual time at which its first request begins.
    start: u64,
}

#[derive(Debug)]
struct Waiting<W> {
    number: u64,
    width: u32,
    wake: W,
}

/// What a level is doing, for the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub name: String,
    pub limits: Limits,
    pub in_use: u32,
}

impl<W> Default for Level<W> {
    fn default() -> Self {
        let limits = Limits::default();
        Self { limits, in_use: 0, queues: BTreeMap::new(), waiting: 0, now: 0 }
    }
}

impl<W> Default for Seats<W> {
    fn default() -> Self {
        Self { levels: Vec::new(), by_name: BTreeMap::new(), waiting: 0, next_number: 0 }
    }
}

impl<W> Level<W> {
    /// Seats that are the level's own whatever the others do.
    fn least(&self) -> u32 {
        self.limits.nominal.saturating_sub(self.limits.lendable)
    }

    /// Seats that it uses of those that can be lent, its own or others'.
    fn pooled(&self) -> u32 {
        if self.limits.exempt { 0 } else { self.in_use.saturating_sub(self.least()) }
    }

    fn is_idle(&self) -> bool {
        self.in_use == 0 && self.waiting == 0
    }

    /// The queue whose turn it is, with the width of its first request.
    fn next(&self) -> Option<(u64, u32)> {
        let (index, queue) = self.queues.iter().min_by_key(|(_, queue)| queue.start)?;
        Some((*index, queue.requests.front()?.width))
    }

    fn queue_of(&self, hash: u64, queuing: Queuing) -> u64 {
        let length = |index: &u64| self.queues.get(index).map_or(0, |queue| queue.requests.len());
        deal(hash, queuing.queues, queuing.hand).min_by_key(length).unwrap_or_default()
    }

    fn pop(&mut self, index: u64) -> Option<Waiting<W>> {
        let queue = self.queues.get_mut(&index)?;
        let first = queue.requests.pop_front()?;
        self.now = queue.start;
        queue.start += u64::from(first.width);
        if queue.requests.is_empty() {
            self.queues.remove(&index);
        }
        self.waiting -= 1;
        Some(first)
    }
}

impl<W> Seats<W> {
    /// Takes over new limits by the levels' names; the slots are those of the names in order. Wakes whom there is
    /// room for now. A level that is gone keeps its slot until its last request is done.
    pub(crate) fn configure(
        &mut self,
        wanted: &[(String, Limits)],
        woken: &mut Vec<W>,
    ) -> Vec<Slot> {
        let kept = |name: &String| wanted.iter().any(|(wanted, _)| wanted == name);
        let levels = &self.levels;
        self.by_name.retain(|name, slot| kept(name) || !levels[*slot].is_idle());
        let slots = wanted.iter().map(|(name, limits)| {
            let slot = self.slot(name);
            self.levels[slot].limits = limits.clone();
            slot
        });
        let slots = slots.collect();
        self.dispatch(woken);
        slots
    }

    fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let taken: Vec<Slot> = self.by_name.values().copied().collect();
        let free = (0..self.levels.len())
            .find(|slot| !taken.contains(slot) && self.levels[*slot].is_idle());
        let slot = free.unwrap_or_else(|| {
            self.levels.push(Level::default());
            self.levels.len() - 1
        });
        self.levels[slot] = Level::default();
        self.by_name.insert(name.to_owned(), slot);
        slot
    }

    /// A request that needs `width` seats of a level. `flow` is the hash of its flow, `make` its waker; both are
    /// asked for only when it has to wait.
    pub(crate) fn arrive(
        &mut self,
        slot: Slot,
        width: u32,
        flow: impl FnOnce() -> u64,
        make: impl FnOnce() -> W,
    ) -> Arrival {
        if self.levels[slot].limits.exempt
            || self.levels[slot].waiting == 0 && self.fits(slot, width)
        {
            self.levels[slot].in_use += width;
            return Arrival::Runs;
        }
        let level = &mut self.levels[slot];
        let Some(queuing) = level.limits.queuing else {
            return Arrival::Refused(Refusal::ConcurrencyLimit);
        };
        let index = level.queue_of(flow(), queuing);
        let start = level.now;
        let empty = || Queue { requests: VecDeque::new(), start };
        let queue = level.queues.entry(index).or_insert_with(empty);
        if queue.requests.len() >= queuing.length_max {
            return Arrival::Refused(Refusal::QueueFull);
        }
        let number = self.next_number;
        queue.requests.push_back(Waiting { number, width, wake: make() });
        level.waiting += 1;
        self.waiting += 1;
        self.next_number += 1;
        Arrival::Waits(number)
    }

    /// A request gives its seats back; who may run instead is woken.
    pub(crate) fn finish(&mut self, slot: Slot, width: u32, woken: &mut Vec<W>) {
        let level = &mut self.levels[slot];
        level.in_use = level.in_use.saturating_sub(width);
        self.dispatch(woken);
    }

    /// A request that waits no longer wants to. False when it has been woken already: it has seats then.
    pub(crate) fn leave(&mut self, slot: Slot, number: u64) -> bool {
        let level = &mut self.levels[slot];
        let mut found = None;
        for (index, queue) in &mut level.queues {
            if let Some(place) = queue.requests.iter().position(|one| one.number == number) {
                queue.requests.remove(place);
                found = Some((*index, queue.requests.is_empty()));
                break;
            }
        }
        let Some((index, empty)) = found else { return false };
        if empty {
            level.queues.remove(&index);
        }
        level.waiting -= 1;
        self.waiting -= 1;
        true
    }

    /// Whether a level may use so many more seats. One request always may.
    fn fits(&self, slot: Slot, width: u32) -> bool {
        let level = &self.levels[slot];
        let (limits, wanted) = (&level.limits, level.in_use + width);
        if level.in_use == 0 || wanted <= level.least() {
            return true;
        }
        if wanted > limits.nominal.saturating_add(limits.borrowing) {
            return false;
        }
        let pool: u32 = self.levels.iter().map(|level| level.limits.lendable).sum();
        let used: u32 = self.levels.iter().map(Level::pooled).sum();
        used + (wanted - level.least().max(level.in_use)) <= pool
    }

    fn dispatch(&mut self, woken: &mut Vec<W>) {
        while self.waiting > 0 {
            let candidates = self.levels.iter().enumerate().filter_map(|(slot, level)| {
                let (index, width) = level.next()?;
                self.fits(slot, width).then_some((slot, index))
            });
            // Who has least of its share goes first.
            let fullness = |slot: Slot| {
                let level = &self.levels[slot];
                u64::from(level.in_use) * 1_000_000 / u64::from(level.limits.nominal.max(1))
            };
            let Some((slot, index)) = candidates.min_by_key(|(slot, _)| fullness(*slot)) else {
                return;
            };
            let Some(first) = self.levels[slot].pop(index) else { return };
            self.waiting -= 1;
            self.levels[slot].in_use += first.width;
            woken.push(first.wake);
        }
    }

    /// What each level is doing.
    pub(crate) fn usage(&self) -> Vec<Usage> {
        let usage = |(name, slot): (&String, &Slot)| {
            let level = &self.levels[*slot];
            Usage { name: name.clone(), limits: level.limits.clone(), in_use: level.in_use }
        };
        self.by_name.iter().map(usage).collect()
    }
}

/// A flow's hand of queues: the same for the same hash, different for most others.
fn deal(hash: u64, queues: u64, hand: u64) -> impl Iterator<Item = u64> {
    let mut rest = hash;
    let mut dealt: Vec<u64> = Vec::new();
    for taken in 0..hand.min(queues) {
        let left = queues - taken;
        let mut card = rest % left;
        rest /= left;
        dealt.sort_unstable();
        for earlier in &dealt {
            if card >= *earlier {
                card += 1;
            }
        }
        dealt.push(card);
    }
    dealt.into_iter()
}

/// The limits of each level, given its shares and percentages and what the server has in all.
///
/// `borrowing_percent` is `None` where a level may borrow all there is to borrow.
pub(crate) fn limits(
    total: u32,
    all_shares: u32,
    shares: u32,
    lendable_percent: u32,
    borrowing_percent: Option<u32>,
) -> Limits {
    let of = |count: u32, percent: u32| (count * percent + 50) / 100;
    let nominal = (u64::from(total) * u64::from(shares)).div_ceil(u64::from(all_shares.max(1)));
    let nominal = u32::try_from(nominal).unwrap_or(total);
    Limits {
        exempt: false,
        nominal,
        lendable: of(nominal, lendable_percent.min(100)),
        borrowing: borrowing_percent.map_or(total, |percent| of(nominal, percent)),
        queuing: None,
    }
}

/// The most seats that one request of a level takes, as upstream's: few requests must not fill it.
pub(crate) fn width_max(limits: &Limits) -> u32 {
    const LARGEST: u32 = 10;
    let Some(queuing) = limits.queuing else { return LARGEST };
    let part = (limits.nominal * 15).div_ceil(100);
    let hand = u32::try_from(queuing.hand.max(1)).unwrap_or(u32::MAX);
    part.min(limits.nominal / hand).clamp(1, LARGEST)
}

#[cfg(test)]
mod tests;
