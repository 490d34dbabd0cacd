//! Building the working set from the records on disk, in revision order.

use super::super::chain::Version;
use super::super::record::{Record, RowKey, record_bytes};
use super::State;
use crate::Event;
use crate::commit::Commit;

/// Takes records in the order of their rows and turns into a [`State`].
#[derive(Debug)]
pub(in super::super) struct Loader {
    state: State,
    revision: u64,
    time_ms: i64,
    events: Vec<Event>,
    garbage: Vec<RowKey>,
}

impl Loader {
    /// Starts with an empty state whose history begins after `compacted`.
    pub(in super::super) fn new(compacted: u64) -> Self {
        let state = State { compacted, newest: compacted, visible: compacted, ..State::default() };
        Self { state, revision: 0, time_ms: 0, events: Vec::new(), garbage: Vec::new() }
    }

    /// Adds the next record; rows must come in ascending order.
    pub(in super::super) fn add(&mut self, row: RowKey, mut record: Record) {
        if row.revision != self.revision {
            self.end_commit();
            self.revision = row.revision;
            self.time_ms = record.time_ms;
        }
        if row.revision <= self.state.compacted {
            self.add_compacted(row, record);
            return;
        }
        let written = version(row, &mut record);
        let (key, previous) = self.state.newest_value(record.key);
        let event = match written {
            Some(version) => {
                let current = version.key_value(&key);
                self.state.push(key.clone(), version);
                Event::Put { current, previous: previous.map(Box::new) }
            }
            None => self.state.push_deletion(key.clone(), previous, row),
        };
        self.events.push(event);
    }

    /// Adds a record that history does not reach back to, as nearly all are: only the newest of a key is
    /// of use, and the key is looked for once.
    fn add_compacted(&mut self, row: RowKey, mut record: Record) {
        // Without the value; a clone of the key would cost it an allocation more.
        let bare_bytes = record_bytes(&record.key, &[]);
        let before = match version(row, &mut record) {
            Some(version) => {
                self.state.sizes.record_bytes += (bare_bytes + version.value.len()) as u64;
                self.state.keys.replace(record.key, version)
            }
            None => {
                self.garbage.push(row);
                self.state.keys.remove(&record.key)
            }
        };
        if let Some(before) = before {
            self.state.sizes.record_bytes -= (bare_bytes + before.value.len()) as u64;
            self.garbage.push(RowKey { revision: before.mod_revision, sub: before.sub });
        }
    }

    fn end_commit(&mut self) {
        self.state.newest = self.state.newest.max(self.revision);
        if !self.events.is_empty() {
            let events = std::mem::take(&mut self.events);
            self.state.pending.push(Commit::new(self.revision, self.time_ms, events));
        }
    }

    /// The state, and the rows that an interrupted compaction left behind.
    pub(in super::super) fn finish(mut self) -> (State, Vec<RowKey>) {
        self.end_commit();
        self.state.publish();
        (self.state, self.garbage)
    }
}

/// The version that a record writes; `None` for one that deletes.
fn version(row: RowKey, record: &mut Record) -> Option<Version> {
    Some(Version {
        mod_revision: row.revision,
        create_revision: record.create_revision,
        version: record.version,
        lease: record.lease,
        sub: row.sub,
        value: record.value.take()?,
    })
}
