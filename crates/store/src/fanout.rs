//! Delivery of committed changes to watchers.
//!
//! Watchers of equal ranges share one [`Group`]: a ring of batches, filtered once. The writer only appends
//! to rings and wakes; each watcher reads at its own pace by its cursor. A ring that is full drops its
//! oldest batch, and a watcher that still needed it ends with `TooSlow`: nobody slows the writer. Large
//! groups are woken by [`Fanout::wake_crowds`], paced by their size, so that waking ten thousand watchers
//! for each of a thousand commits a second turns into a few wakes that deliver many batches each.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use clock::Clock;
use futures::Stream;
use futures::task::AtomicWaker;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::commit::Commit;
use crate::limits::{
    CROWD_PACE_NANOSECONDS, WATCH_BATCHES_MAX, WATCH_BYTES_MAX, WATCH_TAKE_BATCHES,
    WATCHERS_WOKEN_INLINE_MAX,
};
use crate::{EventBatch, KeyRange, Revision, StoreError};

/// The ring is looked through for batches that everybody has read when it has grown by this many.
const TRIM_STEP_BATCHES: usize = 64;

/// All groups, and how far they have been filled.
#[derive(Debug, Default)]
pub(crate) struct Fanout {
    registry: Mutex<Registry>,
    published: AtomicU64,
    crowd_waits: Notify,
}

#[derive(Debug, Default)]
struct Registry {
    keys: HashMap<Bytes, Arc<Group>>,
    ranges: HashMap<KeyRange, Arc<Group>>,
    closed: bool,
}

/// The watchers of one range.
#[derive(Debug)]
struct Group {
    range: KeyRange,
    ring: RwLock<Ring>,
    has_news: AtomicBool,
}

#[derive(Debug, Default)]
struct Ring {
    batches: VecDeque<(EventBatch, usize)>,
    bytes: usize,
    /// The newest revision that is no longer in the ring.
    dropped_through: u64,
    trim_at: usize,
    /// Shared with whoever wakes them, so that waking a crowd does not copy it.
    watchers: Arc<Vec<Arc<Watcher>>>,
    closed: bool,
}

/// What the writer knows of one watcher.
#[derive(Debug)]
struct Watcher {
    /// Everything up to this revision has been taken.
    cursor: AtomicU64,
    waker: AtomicWaker,
    progress_wanted: AtomicBool,
}

impl Fanout {
    /// Everything up to `revision` was published before there were watchers.
    pub(crate) fn new(revision: u64) -> Self {
        Self { published: AtomicU64::new(revision), ..Self::default() }
    }

    /// Appends commits, oldest first, to the rings that they concern, and wakes.
    pub(crate) fn publish(&self, commits: &[Commit]) {
        let Some(newest) = commits.last().map(|commit| commit.revision) else { return };
        let registry = self.registry.lock();
        for group in registry.ranges.values() {
            group.extend(commits.iter().filter_map(|commit| commit.within(&group.range)));
        }
        if !registry.keys.is_empty() {
            for commit in commits {
                for event in commit.events.iter() {
                    if let Some(group) = registry.keys.get(event.key()) {
                        group.extend(commit.within(&group.range));
                    }
                }
            }
        }
        self.published.store(newest, Ordering::Release);
        let mut crowds = false;
        for group in registry.ranges.values().chain(registry.keys.values()) {
            crowds |= !group.wake_if_small();
        }
        drop(registry);
        if crowds {
            self.crowd_waits.notify_one();
        }
    }

    /// Notes that nothing is to come up to `revision`, though no watched change has it.
    pub(crate) fn advance(&self, revision: u64) {
        let _registry = self.registry.lock();
        self.published.fetch_max(revision, Ordering::AcqRel);
    }

    /// Ends every watch with `TooSlow`: changes up to `revision` have been missed.
    pub(crate) fn break_off(&self, revision: u64) {
        let mut registry = self.registry.lock();
        let (ranges, keys) =
            (std::mem::take(&mut registry.ranges), std::mem::take(&mut registry.keys));
        for group in ranges.into_values().chain(keys.into_values()) {
            let mut ring = group.ring.write();
            ring.batches.clear();
            ring.bytes = 0;
            ring.dropped_through = u64::MAX;
            drop(ring);
            group.has_news.store(true, Ordering::Relaxed);
            group.wake_all();
        }
        self.published.fetch_max(revision, Ordering::AcqRel);
    }

    /// Wakes the large groups that have news, for ever.
    pub(crate) async fn wake_crowds(self: Arc<Self>, clock: Clock) {
        loop {
            self.crowd_waits.notified().await;
            let groups: Vec<_> = {
                let registry = self.registry.lock();
                let all = registry.ranges.values().chain(registry.keys.values());
                all.filter(|group| group.has_news.load(Ordering::Relaxed)).cloned().collect()
            };
            let woken: usize = groups.iter().map(|group| group.wake_all()).sum();
            clock.sleep(Duration::from_nanos(CROWD_PACE_NANOSECONDS * woken as u64)).await;
        }
    }

    /// Adds a watcher for what is published from now on. The answer's `joined_at` is the newest
    /// revision that it will not see.
    pub(crate) fn join(self: &Arc<Self>, range: KeyRange) -> Result<Subscription, StoreError> {
        let mut registry = self.registry.lock();
        if registry.closed {
            return Err(StoreError::Closed);
        }
        let joined_at = self.published.load(Ordering::Acquire);
        let new = || Arc::new(Group::new(range.clone(), joined_at));
        let group = if range.is_single_key() {
            registry.keys.entry(range.start.clone()).or_insert_with(new)
        } else {
            registry.ranges.entry(range.clone()).or_insert_with(new)
        };
        let watcher = Arc::new(Watcher {
            cursor: AtomicU64::new(joined_at),
            waker: AtomicWaker::new(),
            progress_wanted: AtomicBool::new(false),
        });
        Arc::make_mut(&mut group.ring.write().watchers).push(Arc::clone(&watcher));
        let group = Arc::clone(group);
        Ok(Subscription {
            fanout: Arc::clone(self),
            group,
            watcher,
            waiting: VecDeque::new(),
            joined_at,
            cursor: joined_at,
            ended: false,
        })
    }

    /// Ends every watch.
    pub(crate) fn close(&self) {
        let mut registry = self.registry.lock();
        registry.closed = true;
        for group in registry.ranges.values().chain(registry.keys.values()) {
            group.ring.write().closed = true;
            group.wake_all();
        }
    }

    fn leave(&self, group: &Group, watcher: &Arc<Watcher>) {
        let mut registry = self.registry.lock();
        let mut ring = group.ring.write();
        Arc::make_mut(&mut ring.watchers).retain(|other| !Arc::ptr_eq(other, watcher));
        let is_this = |have: &Arc<Group>| std::ptr::eq(&raw const **have, group);
        if ring.watchers.is_empty() {
            // After a break another group may have taken the place of this one.
            if group.range.is_single_key() {
                if registry.keys.get(&group.range.start).is_some_and(is_this) {
                    registry.keys.remove(&group.range.start);
                }
            } else if registry.ranges.get(&group.range).is_some_and(is_this) {
                registry.ranges.remove(&group.range);
            }
        }
    }
}

impl Group {
    fn new(range: KeyRange, joined_at: u64) -> Self {
        let ring =
            Ring { dropped_through: joined_at, trim_at: TRIM_STEP_BATCHES, ..Ring::default() };
        Self { range, ring: RwLock::new(ring), has_news: AtomicBool::new(false) }
    }

    fn extend(&self, batches: impl IntoIterator<Item = EventBatch>) {
        let mut batches = batches.into_iter().peekable();
        if batches.peek().is_none() {
            return;
        }
        self.has_news.store(true, Ordering::Relaxed);
        let mut ring = self.ring.write();
        for batch in batches {
            ring.push(batch);
        }
    }

    /// Wakes the watchers when there is news for them and they are few; `false` when they are many.
    fn wake_if_small(&self) -> bool {
        if !self.has_news.load(Ordering::Relaxed) {
            return true;
        }
        let ring = self.ring.read();
        if ring.watchers.len() > WATCHERS_WOKEN_INLINE_MAX {
            return false;
        }
        self.has_news.store(false, Ordering::Relaxed);
        ring.watchers.iter().for_each(|watcher| watcher.waker.wake());
        true
    }

    /// Wakes all watchers if there is news or the end; answers how many.
    fn wake_all(&self) -> usize {
        let watchers = {
            let ring = self.ring.read();
            if !self.has_news.swap(false, Ordering::Relaxed) && !ring.closed {
                return 0;
            }
            Arc::clone(&ring.watchers)
        };
        watchers.iter().for_each(|watcher| watcher.waker.wake());
        watchers.len()
    }
}

impl Ring {
    fn push(&mut self, batch: EventBatch) {
        // A transaction that writes several watched keys reaches a group of single keys only once.
        if self.batches.back().is_some_and(|(last, _)| last.revision >= batch.revision) {
            return;
        }
        let bytes = batch.events.iter().map(event_bytes).sum();
        self.bytes += bytes;
        self.batches.push_back((batch, bytes));
        if self.batches.len() >= self.trim_at {
            self.trim();
        }
        while self.batches.len() > WATCH_BATCHES_MAX || self.bytes > WATCH_BYTES_MAX {
            self.drop_oldest();
        }
    }

    /// Drops what every watcher has taken.
    fn trim(&mut self) {
        let cursors = self.watchers.iter().map(|watcher| watcher.cursor.load(Ordering::Acquire));
        let taken = cursors.min().unwrap_or(u64::MAX);
        while self.batches.front().is_some_and(|(batch, _)| batch.revision.0 <= taken) {
            self.drop_oldest();
        }
        self.trim_at = self.batches.len() * 2 + TRIM_STEP_BATCHES;
    }

    fn drop_oldest(&mut self) {
        if let Some((batch, bytes)) = self.batches.pop_front() {
            self.bytes -= bytes;
            self.dropped_through = batch.revision.0;
        }
    }

    /// Copies up to a handful of batches after `cursor` to `taken`.
    fn take(&self, cursor: u64, taken: &mut VecDeque<EventBatch>) -> Result<(), StoreError> {
        if cursor < self.dropped_through {
            return Err(StoreError::TooSlow);
        }
        let from = self.batches.partition_point(|(batch, _)| batch.revision.0 <= cursor);
        let batches = self.batches.range(from..).take(WATCH_TAKE_BATCHES);
        taken.extend(batches.map(|(batch, _)| batch.clone()));
        if taken.is_empty() && self.closed { Err(StoreError::Closed) } else { Ok(()) }
    }
}

fn event_bytes(event: &crate::Event) -> usize {
    let current = match event {
        crate::Event::Put { current, .. } => current.value.len(),
        crate::Event::Delete { .. } => 0,
    };
    let previous = event.previous().map_or(0, |previous| previous.value.len());
    size_of::<crate::Event>() + current + previous
}

/// One watcher's end: the stream of its batches.
#[derive(Debug)]
pub(crate) struct Subscription {
    fanout: Arc<Fanout>,
    group: Arc<Group>,
    watcher: Arc<Watcher>,
    waiting: VecDeque<EventBatch>,
    pub(crate) joined_at: u64,
    cursor: u64,
    ended: bool,
}

impl Subscription {
    /// Puts `backlog` in front of what the subscription delivers by itself, and skips everything up to
    /// and including `after`.
    pub(crate) fn start(&mut self, backlog: VecDeque<EventBatch>, after: u64) {
        self.waiting = backlog;
        self.skip_to(self.cursor.max(after));
    }

    /// A closure that asks for a progress mark.
    pub(crate) fn progress(&self) -> impl Fn() + Send + Sync + 'static {
        let watcher = Arc::clone(&self.watcher);
        move || {
            watcher.progress_wanted.store(true, Ordering::Release);
            watcher.waker.wake();
        }
    }

    fn skip_to(&mut self, cursor: u64) {
        self.cursor = cursor;
        self.watcher.cursor.store(cursor, Ordering::Release);
    }

    fn end(&mut self, error: StoreError) -> Poll<Option<Result<EventBatch, StoreError>>> {
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }

    /// Takes from the ring; a progress mark when there is nothing and one is wanted.
    fn take(&mut self) -> Result<Option<EventBatch>, StoreError> {
        // Read before the ring: what was published by now is in the ring if it is for us.
        let published = self.fanout.published.load(Ordering::Acquire);
        self.group.ring.read().take(self.cursor, &mut self.waiting)?;
        if let Some(last) = self.waiting.back() {
            self.skip_to(last.revision.0);
            return Ok(self.waiting.pop_front());
        }
        if self.watcher.progress_wanted.swap(false, Ordering::AcqRel) {
            let revision = Revision(published.max(self.cursor));
            return Ok(Some(EventBatch { revision, events: Arc::new([]) }));
        }
        Ok(None)
    }
}

impl Stream for Subscription {
    type Item = Result<EventBatch, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(batch) = self.waiting.pop_front() {
            return Poll::Ready(Some(Ok(batch)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.watcher.waker.register(context.waker());
        match self.take() {
            Ok(Some(batch)) => Poll::Ready(Some(Ok(batch))),
            Ok(None) => Poll::Pending,
            Err(error) => self.end(error),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.fanout.leave(&self.group, &self.watcher);
    }
}
