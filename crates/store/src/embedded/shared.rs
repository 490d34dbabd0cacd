//! What readers, watchers and the writer share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use parking_lot::{Mutex, RwLock};

use super::state::State;
use crate::fanout::Fanout;
use crate::limits::{HISTORY_SLICE_REVISIONS, RANGE_SLICE_KEYS};
use crate::{EventBatch, KeyRange, RangeRequest, RangeResponse, Revision, StoreError};

/// No work is due.
pub(super) const NEVER_MS: i64 = i64::MAX;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: RwLock<State>,
    pub(super) fanout: Arc<Fanout>,
    /// The newest visible revision, readable without the lock.
    pub(super) revision: AtomicU64,
    /// When the writer next has something to do by itself, in milliseconds since 1970.
    pub(super) next_work_ms: AtomicI64,
    /// The revisions that long reads are at, and how many each.
    readers: Mutex<BTreeMap<u64, usize>>,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        let revision = state.visible();
        Self {
            state: RwLock::new(state),
            fanout: Arc::new(Fanout::new(revision)),
            revision: AtomicU64::new(revision),
            next_work_ms: AtomicI64::new(NEVER_MS),
            readers: Mutex::new(BTreeMap::new()),
        }
    }

    /// The oldest revision that a read in progress needs; garbage before it may go.
    pub(super) fn oldest_reader(&self) -> u64 {
        self.readers.lock().keys().next().copied().unwrap_or(u64::MAX)
    }

    /// Reads a range in slices, between which the writer may go on; the revision is kept meanwhile.
    pub(super) async fn range(
        self: &Arc<Self>,
        request: &RangeRequest,
    ) -> Result<RangeResponse, StoreError> {
        let (mut response, reading) = match self.begin_range(request)? {
            Begun::Done(response) => return Ok(response),
            Begun::Long(response, reading) => (response, reading),
        };
        let limit = if request.limit == 0 { usize::MAX } else { request.limit };
        let mut read = RangeRead { at: reading.at, limit, after: None };
        while self.read_slice(&request.range, &mut read, &mut response) {
            tokio::task::consume_budget().await;
        }
        Ok(response)
    }

    fn begin_range(self: &Arc<Self>, request: &RangeRequest) -> Result<Begun, StoreError> {
        let state = self.state.read();
        let at = state.read_revision(request.revision)?;
        let mut response =
            RangeResponse { revision: Revision(state.visible()), items: Vec::new(), remaining: 0 };
        if request.range.is_single_key() {
            let found = state.keys.get(&request.range.start);
            let found = found.and_then(|(key, chain)| Some(chain.at(at)?.key_value(key)));
            response.items.extend(found);
            return Ok(Begun::Done(response));
        }
        // Taken under the lock, so that no garbage collection falls between.
        Ok(Begun::Long(response, Reading::new(self, at)))
    }

    /// Visits a slice of the range; `false` at its end, or when there is enough and the rest is counted.
    fn read_slice(
        &self,
        range: &KeyRange,
        read: &mut RangeRead,
        response: &mut RangeResponse,
    ) -> bool {
        let state = self.state.read();
        let after = read.after.take();
        let mut chains = state.keys.range(range, after.as_deref());
        for visited in 0.. {
            let Some((key, chain)) = chains.next() else { return false };
            response.items.extend(chain.at(read.at).map(|version| version.key_value(key)));
            if response.items.len() == read.limit {
                response.remaining = state.count(range, read.at) - read.limit;
                return false;
            }
            if visited >= RANGE_SLICE_KEYS {
                read.after = Some(key.clone());
                return true;
            }
        }
        false
    }

    /// The changes of `range` after `after`, up to and including `through`.
    pub(super) fn backlog(
        &self,
        range: &KeyRange,
        after: Revision,
        through: u64,
    ) -> Result<VecDeque<EventBatch>, StoreError> {
        let mut backlog = VecDeque::new();
        let mut from = after.0;
        while from < through {
            let state = self.state.read();
            if from < state.compacted() {
                let compacted = Revision(state.compacted());
                return Err(StoreError::Compacted { requested: after, compacted });
            }
            let history = state.history();
            let start = history.partition_point(|commit| commit.revision <= from);
            let end = history.len().min(start + HISTORY_SLICE_REVISIONS);
            for commit in history.range(start..end).filter(|commit| commit.revision <= through) {
                backlog.extend(commit.within(range));
            }
            from = history.get(end).map_or(through, |next| next.revision - 1);
        }
        Ok(backlog)
    }
}

/// A read that has begun: over already, or to be done in slices.
enum Begun {
    Done(RangeResponse),
    Long(RangeResponse, Reading),
}

/// Where a read in slices is.
struct RangeRead {
    at: u64,
    limit: usize,
    after: Option<bytes::Bytes>,
}

/// Keeps a revision from being collected while it is read.
struct Reading {
    shared: Arc<Shared>,
    at: u64,
}

impl Reading {
    fn new(shared: &Arc<Shared>, at: u64) -> Self {
        *shared.readers.lock().entry(at).or_default() += 1;
        Self { shared: Arc::clone(shared), at }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut readers = self.shared.readers.lock();
        if let Some(count) = readers.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.at);
            }
        }
    }
}
