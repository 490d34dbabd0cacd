//! Building the working set from the records on disk, in revision order.

use super::super::chain::Version;
use super::super::record::{Record, RowKey};
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
    pub(in super::super) fn add(&mut self, row: RowKey, record: Record) {
        if row.revision != self.revision {
            self.end_commit();
            self.revision = row.revision;
            self.time_ms = record.time_ms;
        }
        let (key, previous) = self.state.newest_value(record.key);
        let floor = self.state.compacted;
        let event = match record.value {
            Some(value) => {
                let version = Version {
                    mod_revision: row.revision,
                    create_revision: record.create_revision,
                    version: record.version,
                    lease: record.lease,
                    sub: row.sub,
                    value,
                };
                let current = version.key_value(&key);
                self.state.push(key.clone(), version);
                Event::Put { current, previous }
            }
            None => self.state.push_deletion(key.clone(), previous, row.revision, row.sub),
        };
        if row.revision > floor {
            self.events.push(event);
        } else {
            self.state.trim(&key, floor, &mut self.garbage);
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
