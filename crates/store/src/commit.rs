//! One committed revision as both stores hand it to their watchers.

use std::sync::Arc;

use crate::{Event, EventBatch, KeyRange, Revision};

/// What a committed revision costs in the history beyond its keys and values, in bytes.
const COMMIT_OVERHEAD_BYTES: usize = 320;

/// All changes of one revision.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) revision: u64,
    pub(crate) time_ms: i64,
    pub(crate) events: Arc<[Event]>,
    /// Memory that the history holds on to because of this commit.
    pub(crate) bytes: usize,
}

impl Commit {
    pub(crate) fn new(revision: u64, time_ms: i64, events: Vec<Event>) -> Self {
        let bytes = events.iter().map(history_bytes).sum::<usize>() + COMMIT_OVERHEAD_BYTES;
        Self { revision, time_ms, events: events.into(), bytes }
    }

    /// The part of the commit inside `range`; the whole is shared, not copied.
    pub(crate) fn within(&self, range: &KeyRange) -> Option<EventBatch> {
        let inside = self.events.iter().filter(|event| range.contains(event.key())).count();
        if inside == 0 {
            return None;
        }
        let events = if inside == self.events.len() {
            Arc::clone(&self.events)
        } else {
            self.events.iter().filter(|event| range.contains(event.key())).cloned().collect()
        };
        Some(EventBatch { revision: Revision(self.revision), events })
    }
}

/// What an event keeps alive that the newest state would not.
fn history_bytes(event: &Event) -> usize {
    let previous = event.previous().map_or(0, |previous| previous.value.len());
    size_of::<Event>() + previous
}
