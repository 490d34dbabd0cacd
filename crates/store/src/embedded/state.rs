//! The working set in memory: every kept version of every key, and the history as events.
//!
//! Transactions are applied here before they are durable, at revisions that no reader looks at yet;
//! [`State::publish`] makes them visible after the flush, [`State::roll_back`] removes them when the
//! flush failed. No I/O, no time, no locks.

use std::collections::VecDeque;

use bytes::Bytes;

use super::chain::Version;
use super::disk::DiskBatch;
use super::index::Index;
use super::record::{ChangeRef, Put, RowKey, encode_deletion, encode_put, record_bytes};
use crate::commit::Commit;
use crate::{Compare, Event, KeyRange, KeyValue, Operation, Revision, StoreError, Transaction};

/// What became of a transaction.
#[derive(Debug)]
pub(super) enum Applied {
    /// Applied at this revision, not yet visible.
    Changed(u64),
    /// Nothing to do; `newest` as of then.
    Unchanged { newest: u64 },
    /// A comparison failed.
    Conflict { newest: u64, present: Vec<Option<KeyValue>> },
}

/// How much the state holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Bytes of all records that must be on disk, garbage excluded.
    pub(super) record_bytes: u64,
    /// Bytes that the history holds in memory.
    pub(super) history_bytes: usize,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) keys: Index,
    history: VecDeque<Commit>,
    pending: Vec<Commit>,
    /// The rows of what is pending. Their records hold keys and values of the versions: the engine's memory and
    /// this one share them.
    unwritten: DiskBatch,
    newest: u64,
    visible: u64,
    compacted: u64,
    sizes: Sizes,
}

impl State {
    /// The newest revision that readers may see.
    pub(super) fn visible(&self) -> u64 {
        self.visible
    }

    /// The oldest revision that may be read.
    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The published commits that watches can start in, oldest first.
    pub(super) fn history(&self) -> &VecDeque<Commit> {
        &self.history
    }

    /// Takes the rows of what was applied since they were last taken.
    pub(super) fn take_unwritten(&mut self) -> DiskBatch {
        std::mem::take(&mut self.unwritten)
    }

    /// The revision to read at when `requested` was asked for.
    pub(super) fn read_revision(&self, requested: Revision) -> Result<u64, StoreError> {
        match requested.0 {
            0 => Ok(self.visible),
            revision if revision > self.visible => {
                Err(StoreError::FutureRevision { requested, newest: Revision(self.visible) })
            }
            revision if revision < self.compacted => {
                Err(StoreError::Compacted { requested, compacted: Revision(self.compacted) })
            }
            revision => Ok(revision),
        }
    }

    /// How many keys of `range`, which is not a single key, had a value at `revision`; all commits after
    /// it must still be in the history. Looks at the history, not at the keys.
    pub(super) fn count(&self, range: &KeyRange, revision: u64) -> usize {
        let start = self.history.partition_point(|commit| commit.revision <= revision);
        let later = self.history.range(start..).chain(&self.pending);
        let events = later.flat_map(|commit| commit.events.iter());
        let (mut created, mut deleted) = (0, 0);
        for event in events.filter(|event| range.contains(event.key())) {
            match event {
                Event::Put { previous: None, .. } => created += 1,
                Event::Put { .. } => {}
                Event::Delete { .. } => deleted += 1,
            }
        }
        self.keys.live(range) + deleted - created
    }

    /// Checks `transaction` against the newest state, visible or not, and applies it.
    pub(super) fn apply(&mut self, transaction: Transaction, time_ms: i64) -> Applied {
        if !transaction.compares.iter().all(|compare| self.holds(compare)) {
            let present = transaction.compares.iter().map(|compare| self.present(&compare.key));
            return Applied::Conflict { newest: self.newest, present: present.collect() };
        }
        let revision = self.newest + 1;
        let mut events = Vec::with_capacity(transaction.operations.len());
        for operation in transaction.operations {
            let sub = u32::try_from(events.len()).unwrap_or(u32::MAX);
            events.extend(self.apply_operation(operation, RowKey { revision, sub }, time_ms));
        }
        if events.is_empty() {
            return Applied::Unchanged { newest: self.newest };
        }
        self.newest = revision;
        self.pending.push(Commit::new(revision, time_ms, events));
        Applied::Changed(revision)
    }

    fn holds(&self, compare: &Compare) -> bool {
        let present = self.keys.get(&compare.key).map(|(_, chain)| chain.newest());
        let revision = present.filter(|version| !version.is_deletion());
        revision.map_or(0, |version| version.mod_revision) == compare.mod_revision.0
    }

    fn present(&self, key: &Bytes) -> Option<KeyValue> {
        let (key, chain) = self.keys.get(key)?;
        let newest = chain.newest();
        (!newest.is_deletion()).then(|| newest.key_value(key))
    }

    fn apply_operation(
        &mut self,
        operation: Operation,
        row: RowKey,
        time_ms: i64,
    ) -> Option<Event> {
        match operation {
            Operation::Put { key, value, lease } => {
                let lease = lease.map_or(0, |lease| lease.0);
                Some(self.put(&key, &value, lease, row, time_ms))
            }
            Operation::Delete { key } => {
                let previous = self.present(&key)?;
                self.unwritten.put(&row.encode(), encode_deletion(row, time_ms, &previous.key));
                Some(self.push_deletion(key, Some(previous), row))
            }
        }
    }

    fn put(&mut self, key: &Bytes, value: &[u8], lease: i64, row: RowKey, time_ms: i64) -> Event {
        let previous = self.present(key);
        let created = previous.as_ref().map_or(row.revision, |before| before.create_revision.0);
        let number = previous.as_ref().map_or(0, |previous| previous.version) + 1;
        let change =
            ChangeRef { time_ms, key, value, create_revision: created, version: number, lease };
        let Put { record, key, value } = encode_put(row, &change);
        self.unwritten.put(&row.encode(), record);
        let version = Version {
            mod_revision: row.revision,
            create_revision: created,
            version: number,
            lease,
            sub: row.sub,
            value,
        };
        let current = version.key_value(&key);
        self.push(key, version);
        Event::Put { current, previous: previous.map(Box::new) }
    }

    fn push_deletion(&mut self, key: Bytes, previous: Option<KeyValue>, row: RowKey) -> Event {
        let key = previous.as_ref().map_or(key, |previous| previous.key.clone());
        let version = Version {
            mod_revision: row.revision,
            create_revision: 0,
            version: 0,
            lease: 0,
            sub: row.sub,
            value: Bytes::new(),
        };
        self.push(key.clone(), version);
        Event::Delete {
            key,
            mod_revision: Revision(row.revision),
            previous: previous.map(Box::new),
        }
    }

    /// The key as the index holds it, so that one allocation serves all, and its newest value.
    fn newest_value(&self, key: Bytes) -> (Bytes, Option<KeyValue>) {
        match self.keys.get(&key) {
            Some((key, chain)) => {
                let newest = chain.newest();
                let previous = (!newest.is_deletion()).then(|| newest.key_value(key));
                (key.clone(), previous)
            }
            None => (key, None),
        }
    }

    fn push(&mut self, key: Bytes, version: Version) {
        self.sizes.record_bytes += record_bytes(&key, &version.value) as u64;
        self.keys.push(key, version);
    }

    /// Makes everything applied so far visible; answers the commits, oldest first.
    pub(super) fn publish(&mut self) -> Vec<Commit> {
        self.visible = self.newest;
        let commits = std::mem::take(&mut self.pending);
        self.sizes.history_bytes += commits.iter().map(|commit| commit.bytes).sum::<usize>();
        self.history.extend(commits.iter().cloned());
        commits
    }

    /// Forgets everything applied since the last publish.
    pub(super) fn roll_back(&mut self) {
        self.unwritten = DiskBatch::default();
        for commit in std::mem::take(&mut self.pending).into_iter().rev() {
            for event in commit.events.iter().rev() {
                self.pop(event.key());
            }
        }
        self.newest = self.visible;
    }

    fn pop(&mut self, key: &Bytes) {
        let Some((_, chain)) = self.keys.get(key) else { return };
        self.sizes.record_bytes -= record_bytes(key, &chain.newest().value) as u64;
        self.keys.pop(key);
    }

    /// Forbids reads and watches before `revision`, which must be visible. The memory is freed by
    /// [`State::collect_garbage`].
    pub(super) fn compact(&mut self, revision: u64) {
        debug_assert!(revision <= self.visible);
        self.compacted = self.compacted.max(revision);
    }

    /// Whether [`State::collect_garbage`] has something to do.
    pub(super) fn has_garbage(&self, floor: u64) -> bool {
        self.history.front().is_some_and(|commit| commit.revision <= floor.min(self.compacted))
    }

    /// Drops up to `limit` commits that lie at or before both `floor` and the compacted revision, and
    /// the versions that nobody can read any more; answers the rows to remove from disk.
    pub(super) fn collect_garbage(&mut self, floor: u64, limit: usize) -> Vec<RowKey> {
        let floor = floor.min(self.compacted);
        let mut rows = Vec::new();
        for _ in 0..limit {
            let Some(commit) = self.history.pop_front_if(|commit| commit.revision <= floor) else {
                break;
            };
            self.sizes.history_bytes -= commit.bytes;
            for event in commit.events.iter() {
                self.trim(event.key(), floor, &mut rows);
            }
        }
        rows
    }

    /// Drops the versions of `key` that reads at or after `floor` cannot see.
    fn trim(&mut self, key: &Bytes, floor: u64, rows: &mut Vec<RowKey>) {
        let sizes = &mut self.sizes;
        self.keys.change(key, |chain| {
            chain.trim(floor, |version| {
                sizes.record_bytes -= record_bytes(key, &version.value) as u64;
                rows.push(RowKey { revision: version.mod_revision, sub: version.sub });
            })
        });
    }
}

mod load;

pub(super) use load::Loader;
