//! The checker of histories: what clients saw, against what the watch says happened.
//!
//! Every write has a value of its own, and every answer a revision, so the order of things is not searched
//! for but read off: the watch gives the one order, and each client's answers must fit into it. Checked are
//! that no acknowledged write is lost or doubled, that comparisons held, that reads are never stale and show
//! the state at their revision, that the watch has every change once and in order, and that marks are true.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use store::{Event, EventBatch};

/// A moment on the test's own clock; larger is later.
pub(crate) type Moment = u64;

/// What a client asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// A write of `value`, if the key was last changed at `after`.
    Write { key: Bytes, value: Bytes, after: u64 },
    /// A deletion, if the key was last changed at `after`.
    Delete { key: Bytes, after: u64 },
    /// A read of one key.
    Read { key: Bytes },
}

/// What a client was told.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// Committed at this revision.
    Committed(u64),
    /// Refused, as of this revision.
    Conflict(u64),
    /// The key's value and modification revision, as of a revision.
    Found { at: u64, value: Option<(Bytes, u64)> },
    /// It did not happen.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// One question with its answer.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) begun: Moment,
    pub(crate) ended: Moment,
    pub(crate) asked: Asked,
    pub(crate) told: Told,
}

/// One change, as the watch told it.
#[derive(Clone, Debug)]
struct Change {
    revision: u64,
    value: Option<Bytes>,
}

/// All changes of each key, and whatever was wrong with the watch.
struct Log {
    keys: HashMap<Bytes, Vec<Change>>,
}

/// Checks a whole history from `base` on; the batches are those of one watch of everything.
///
/// # Panics
/// Something does not fit; the message says what.
pub(crate) fn check(base: u64, batches: &[EventBatch], records: &[Record]) {
    let log = read_watch(base, batches);
    check_writes(&log, records);
    check_reads(&log, records);
    check_time(records);
}

/// Every change once, in order, with the one before it; marks true.
fn read_watch(base: u64, batches: &[EventBatch]) -> Log {
    let mut keys: HashMap<Bytes, Vec<Change>> = HashMap::new();
    let mut through = base;
    for batch in batches {
        let revision = batch.revision.0;
        if batch.events.is_empty() {
            assert!(revision >= through, "the mark {revision} comes after {through}");
            through = revision;
            continue;
        }
        assert!(revision > through, "revision {revision} comes after {through}");
        through = revision;
        for event in batch.events.iter() {
            let changes = keys.entry(event.key().clone()).or_default();
            let before = changes.last().filter(|change| change.value.is_some());
            let previous = event.previous();
            assert_eq!(
                previous.map(|previous| (previous.mod_revision.0, &previous.value)),
                before.map(|change| (change.revision, change.value.as_ref().unwrap())),
                "what {:?} was before {revision}",
                event.key()
            );
            let value = match event {
                Event::Put { current, .. } => {
                    assert_eq!(current.mod_revision.0, revision);
                    let version = previous.map_or(0, |previous| previous.version) + 1;
                    assert_eq!(current.version, version, "no change of {:?} skipped", current.key);
                    Some(current.value.clone())
                }
                Event::Delete { mod_revision, .. } => {
                    assert_eq!(mod_revision.0, revision);
                    None
                }
            };
            changes.push(Change { revision, value });
        }
    }
    Log { keys }
}

impl Log {
    /// The change of `key` that was the newest at `revision`.
    fn at(&self, key: &Bytes, revision: u64) -> Option<&Change> {
        let changes = self.keys.get(key)?;
        let behind = changes.partition_point(|change| change.revision <= revision);
        changes[..behind].last()
    }

    fn present(&self, key: &Bytes, revision: u64) -> Option<(Bytes, u64)> {
        let change = self.at(key, revision)?;
        Some((change.value.clone()?, change.revision))
    }
}

fn check_writes(log: &Log, records: &[Record]) {
    let mut written: BTreeMap<Bytes, &Record> = BTreeMap::new();
    for record in records {
        let (key, value, after) = match &record.asked {
            Asked::Write { key, value, after } => (key, Some(value), *after),
            Asked::Delete { key, after } => (key, None, *after),
            Asked::Read { .. } => continue,
        };
        if let Some(value) = value {
            assert!(written.insert(value.clone(), record).is_none(), "values are used once");
        }
        if let Told::Committed(revision) = record.told {
            let change = log.at(key, revision).filter(|change| change.revision == revision);
            let change =
                change.unwrap_or_else(|| panic!("an acknowledged write is lost: {record:?}"));
            assert_eq!(change.value.as_ref(), value, "another write has its revision: {record:?}");
            let before = log.present(key, revision - 1).map_or(0, |(_, revision)| revision);
            assert_eq!(before, after, "its comparison did not hold: {record:?}");
        }
        if let Told::Conflict(revision) = record.told {
            let present = log.present(key, revision).map_or(0, |(_, revision)| revision);
            assert_ne!(present, after, "its comparison held: {record:?}");
        }
    }
    for (key, changes) in &log.keys {
        for change in changes {
            let Some(value) = &change.value else { continue };
            let record = written.remove(value);
            let record =
                record.unwrap_or_else(|| panic!("{key:?}={value:?} was written twice, or never"));
            let fits = match record.told {
                Told::Committed(revision) => revision == change.revision,
                Told::Unknown => true,
                _ => false,
            };
            assert!(fits, "a write that was refused took place at {}: {record:?}", change.revision);
        }
    }
}

fn check_reads(log: &Log, records: &[Record]) {
    for record in records {
        if let (Asked::Read { key }, Told::Found { at, value }) = (&record.asked, &record.told) {
            assert_eq!(*value, log.present(key, *at), "the state at {at}: {record:?}");
        }
    }
}

/// What ended before something began has a lower revision (or, where nothing changed, no higher one).
fn check_time(records: &[Record]) {
    let mut by_end: Vec<_> =
        records.iter().filter_map(|record| Some((record, revision(record)?))).collect();
    by_end.sort_by_key(|(record, _)| record.ended);
    let mut by_begin = by_end.clone();
    by_begin.sort_by_key(|(record, _)| record.begun);
    let (mut ended, mut highest) = (by_end.iter().peekable(), 0);
    for (record, revision) in by_begin {
        while let Some((_, done)) = ended.next_if(|(other, _)| other.ended < record.begun) {
            highest = highest.max(*done);
        }
        let changed = matches!(record.told, Told::Committed(_));
        assert!(
            if changed { revision > highest } else { revision >= highest },
            "{highest} was acknowledged before this began: {record:?}"
        );
    }
}

fn revision(record: &Record) -> Option<u64> {
    match record.told {
        Told::Committed(revision) | Told::Conflict(revision) => Some(revision),
        Told::Found { at, .. } => Some(at),
        Told::Failed | Told::Unknown => None,
    }
}
