//! The one writer: applies waiting transactions in order, makes them durable with one flush, publishes.
//!
//! Synchronous and without time of its own: it runs on the writer thread, or inline for a store without
//! a disk. All requests of a group are answered after the group is durable, and all fail if it cannot be
//! made so; then memory goes back to what is durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::disk::{Disk, DiskBatch, Room, Truth};
use super::leases::Leases;
use super::record::{FACT_COMPACTED, RowKey, encode_fact, encode_lease, lease_row};
use super::shared::{NEVER_MS, Shared};
use super::state::{Applied, Sizes, State};
use crate::limits::{
    GARBAGE_SLICE_REVISIONS, HISTORY_BYTES_LEAST, LEASE_TTL_SECONDS, LEASES_MAX,
    TRANSACTION_OPERATIONS_MAX,
};
use crate::{LeaseId, Operation, Revision, StoreError, Transaction, TransactionResult};

/// After a failed write the disk is tried again not more often than this, in milliseconds.
const RESTORE_PERIOD_MS: i64 = 500;

/// Where the answer to a request goes; a caller that went away is no error.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A transaction that waits, already validated.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) transaction: Transaction,
    pub(super) reply: Reply<TransactionResult>,
}

/// How long and how much history is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct HistoryLimits {
    pub(super) age_max_ms: i64,
    pub(super) revisions_max: usize,
    pub(super) bytes_max: usize,
}

impl HistoryLimits {
    /// The age at which compaction by age begins: some way over the limit, so that a busy store compacts
    /// now and then and not all the time.
    fn age_over_ms(&self) -> i64 {
        self.age_max_ms.saturating_add(self.age_max_ms / 8)
    }

    /// What the history of this much data may hold: as much as the data itself, within bounds, so that a
    /// small cluster stays small however busy it is.
    fn bytes_max(&self, sizes: Sizes) -> usize {
        let record_bytes = usize::try_from(sizes.record_bytes).unwrap_or(usize::MAX);
        let live_bytes = record_bytes.saturating_sub(sizes.history_bytes);
        live_bytes.max(HISTORY_BYTES_LEAST).min(self.bytes_max)
    }
}

/// See the module's documentation.
pub(super) struct Committer {
    shared: Arc<Shared>,
    disk: Box<dyn Disk>,
    leases: Leases,
    limits: HistoryLimits,
    fsync: bool,
    /// Rows to remove with the next write.
    garbage: Vec<RowKey>,
    /// The compacted revision that the disk does not know yet.
    unwritten_compaction: Option<u64>,
    /// Since when and why the disk is out of service.
    broken: Option<(i64, StoreError)>,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        disk: Box<dyn Disk>,
        leases: Leases,
        limits: HistoryLimits,
        fsync: bool,
    ) -> Self {
        let mut committer = Self {
            shared,
            disk,
            leases,
            limits,
            fsync,
            garbage: Vec::new(),
            unwritten_compaction: None,
            broken: None,
        };
        committer.note_next_work();
        committer
    }

    /// Rows that loading found superfluous; they go with the next writes.
    pub(super) fn discard(&mut self, garbage: Vec<RowKey>) {
        self.garbage.extend(garbage);
    }

    /// Runs a group of transactions.
    pub(super) fn commit(&mut self, group: Vec<Waiting>, now_ms: i64) {
        let (replies, transactions): (Vec<_>, Vec<_>) =
            group.into_iter().map(|waiting| (waiting.reply, waiting.transaction)).unzip();
        let outcomes = self.run(transactions, now_ms);
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // The caller may have given up; the transaction stands all the same.
            let _gone = reply.send(outcome);
        }
    }

    /// Runs transactions in order as one group; one outcome for each.
    pub(super) fn run(
        &mut self,
        transactions: Vec<Transaction>,
        now_ms: i64,
    ) -> Vec<Result<TransactionResult, StoreError>> {
        if let Err(error) = self.bring_back_disk(now_ms) {
            return transactions.iter().map(|_| Err(error.clone())).collect();
        }
        let room = self.disk.room();
        let shared = Arc::clone(&self.shared);
        let (outcomes, rows): (Vec<_>, _) = {
            let mut state = shared.state.write();
            let outcomes = transactions
                .into_iter()
                .map(|transaction| self.apply(&mut state, transaction, room, now_ms))
                .collect();
            (outcomes, state.take_unwritten())
        };
        match self.flush(rows, now_ms) {
            Ok(()) => outcomes,
            Err(error) => outcomes.into_iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn apply(
        &self,
        state: &mut State,
        transaction: Transaction,
        room: Room,
        now_ms: i64,
    ) -> Result<TransactionResult, StoreError> {
        self.admit(&transaction, room)?;
        Ok(match state.apply(transaction, now_ms) {
            Applied::Changed(revision) | Applied::Unchanged { newest: revision } => {
                TransactionResult::Committed { revision: Revision(revision) }
            }
            Applied::Conflict { newest, present } => {
                TransactionResult::Conflict { revision: Revision(newest), present }
            }
        })
    }

    /// Refuses what cannot be done whatever the state of the keys is.
    fn admit(&self, transaction: &Transaction, room: Room) -> Result<(), StoreError> {
        let mut puts = false;
        for operation in &transaction.operations {
            if let Operation::Put { lease, .. } = operation {
                puts = true;
                if let Some(lease) = lease.filter(|lease| !self.leases.contains(*lease)) {
                    return Err(StoreError::LeaseNotFound(lease));
                }
            }
        }
        match room {
            Room::Plenty => Ok(()),
            _ if transaction.operations.is_empty() => Ok(()),
            Room::DeletionsOnly if !puts => Ok(()),
            Room::DeletionsOnly | Room::Full => Err(StoreError::NoSpace),
        }
    }

    /// Makes what is pending durable and visible; on failure memory goes back.
    fn flush(&mut self, rows: DiskBatch, now_ms: i64) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        // No lock is held over the flush; nobody but this writer changes the state.
        let written = self.write(rows, self.fsync, now_ms);
        let mut state = shared.state.write();
        if let Err(error) = written {
            state.roll_back();
            return Err(error);
        }
        let commits = state.publish();
        shared.revision.store(state.visible(), Ordering::Release);
        drop(state);
        for commit in &commits {
            commit.events.iter().for_each(|event| self.leases.follow(event));
        }
        shared.fanout.publish(&commits);
        Ok(())
    }

    /// Writes `batch` together with what has been waiting for a write.
    fn write(&mut self, mut batch: DiskBatch, sync: bool, now_ms: i64) -> Result<(), StoreError> {
        if let Some(compacted) = self.unwritten_compaction {
            batch.put(FACT_COMPACTED, encode_fact(FACT_COMPACTED, compacted));
        }
        self.garbage.iter().for_each(|row| batch.remove(&row.encode()));
        if batch.is_empty() {
            return Ok(());
        }
        match self.disk.write(batch, sync) {
            Ok(()) => {
                self.garbage.clear();
                self.unwritten_compaction = None;
                Ok(())
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a group failed");
                let full = self.disk.room() != Room::Plenty;
                let error = if full { StoreError::NoSpace } else { error };
                self.broken = Some((now_ms, error.clone()));
                Err(error)
            }
        }
    }

    /// After a failed write: puts the disk back into service, if it is time to try.
    fn bring_back_disk(&mut self, now_ms: i64) -> Result<(), StoreError> {
        if self.broken.is_none() && self.disk.has_failed() {
            let error = StoreError::engine("keep its tables in order", DiskFailed);
            tracing::error!("the storage engine failed in the background");
            self.broken = Some((now_ms.saturating_sub(RESTORE_PERIOD_MS), error));
        }
        let Some((since_ms, error)) = &mut self.broken else { return Ok(()) };
        if self.disk.room() != Room::Plenty {
            return Err(StoreError::NoSpace);
        }
        if now_ms < since_ms.saturating_add(RESTORE_PERIOD_MS) {
            return Err(error.clone());
        }
        *since_ms = now_ms;
        let truth = {
            let state = self.shared.state.read();
            let leases = self.leases.persistent();
            Truth { revision: state.visible(), compacted: state.compacted(), leases }
        };
        self.disk.restore(&truth)?;
        tracing::info!(revision = truth.revision, "the store takes writes again");
        self.broken = None;
        Ok(())
    }

    /// Compacts on request.
    pub(super) fn compact(&mut self, revision: Revision, now_ms: i64) -> Result<(), StoreError> {
        self.bring_back_disk(now_ms)?;
        {
            let mut state = self.shared.state.write();
            let requested = revision;
            if revision.0 > state.visible() {
                let newest = Revision(state.visible());
                return Err(StoreError::FutureRevision { requested, newest });
            }
            if revision.0 <= state.compacted() {
                let compacted = Revision(state.compacted());
                return Err(StoreError::Compacted { requested, compacted });
            }
            state.compact(revision.0);
        }
        self.unwritten_compaction = Some(revision.0);
        self.write(DiskBatch::default(), self.fsync, now_ms)
    }

    /// Compacts by count, memory and age.
    fn compact_automatically(&mut self, now_ms: i64) {
        let mut state = self.shared.state.write();
        let history = state.history();
        let limits = self.limits;
        let mut bytes = state.sizes().history_bytes;
        let bytes_max = limits.bytes_max(state.sizes());
        let mut count = history.len();
        // Once over a limit, go some way below it, so that this is not done for every write.
        let (count_target, bytes_target) = if count > limits.revisions_max || bytes > bytes_max {
            (limits.revisions_max / 8 * 7, bytes_max / 8 * 7)
        } else {
            (usize::MAX, usize::MAX)
        };
        let oldest_ms = now_ms.saturating_sub(limits.age_max_ms);
        let mut floor = 0;
        for commit in history {
            if count <= count_target && bytes <= bytes_target && commit.time_ms > oldest_ms {
                break;
            }
            floor = commit.revision;
            count -= 1;
            bytes -= commit.bytes;
        }
        if floor > state.compacted() {
            state.compact(floor);
            self.unwritten_compaction = Some(floor);
        }
    }

    /// One slice of tidying up; `true` when there is more to do. `idle`: nothing else wants to write,
    /// so rows are removed now instead of with the next group.
    pub(super) fn tidy(&mut self, now_ms: i64, idle: bool) -> bool {
        if self.is_over_limits(now_ms) {
            self.compact_automatically(now_ms);
        }
        let more = self.collect_garbage();
        if idle && self.broken.is_none() {
            // Loss of this write costs nothing but doing it again.
            let written = self.write(DiskBatch::default(), false, now_ms);
            if written.is_ok() && !more {
                self.disk.shrink(self.shared.state.read().sizes().record_bytes);
            }
        }
        self.note_next_work();
        more
    }

    fn is_over_limits(&self, now_ms: i64) -> bool {
        let state = self.shared.state.read();
        let oldest_ms = now_ms.saturating_sub(self.limits.age_over_ms());
        state.history().len() > self.limits.revisions_max
            || state.sizes().history_bytes > self.limits.bytes_max(state.sizes())
            || state.history().front().is_some_and(|commit| commit.time_ms <= oldest_ms)
    }

    /// Drops a slice of what nobody can read any more; `true` when there is more.
    fn collect_garbage(&mut self) -> bool {
        let floor = self.shared.oldest_reader();
        if !self.shared.state.read().has_garbage(floor) {
            return false;
        }
        let mut state = self.shared.state.write();
        // A read may have begun meanwhile, at a revision that was still allowed.
        let floor = self.shared.oldest_reader();
        self.garbage.extend(state.collect_garbage(floor, GARBAGE_SLICE_REVISIONS));
        state.has_garbage(floor)
    }

    /// Ends the leases whose time is over.
    pub(super) fn expire_leases(&mut self, now_ms: i64) {
        while let Some(id) = self.leases.expired(now_ms) {
            if let Err(error) = self.revoke(LeaseId(id), now_ms) {
                tracing::warn!(lease = id, %error, "a lease could not be ended; trying again");
                return;
            }
        }
    }

    pub(super) fn grant(&mut self, ttl_seconds: u64, now_ms: i64) -> Result<LeaseId, StoreError> {
        let invalid = |reason: String| Err(StoreError::InvalidTransaction { reason });
        if !LEASE_TTL_SECONDS.contains(&ttl_seconds) {
            return invalid(format!("a lease cannot last {ttl_seconds} seconds"));
        }
        if self.leases.len() >= LEASES_MAX {
            return invalid(format!("there are {LEASES_MAX} leases already"));
        }
        self.bring_back_disk(now_ms)?;
        if self.disk.room() != Room::Plenty {
            return Err(StoreError::NoSpace);
        }
        let id = self.leases.next_id(now_ms);
        let mut batch = DiskBatch::default();
        batch.put(&lease_row(id), encode_lease(id, ttl_seconds));
        self.write(batch, self.fsync, now_ms)?;
        self.leases.insert(id, ttl_seconds, now_ms);
        self.note_next_work();
        Ok(LeaseId(id))
    }

    pub(super) fn keep_alive(&mut self, lease: LeaseId, now_ms: i64) -> Result<u64, StoreError> {
        let ttl_seconds = self.leases.keep_alive(lease, now_ms);
        self.note_next_work();
        ttl_seconds
    }

    pub(super) fn lease_ttl(&self, lease: LeaseId) -> Result<u64, StoreError> {
        self.leases.ttl_seconds(lease).ok_or(StoreError::LeaseNotFound(lease))
    }

    /// Deletes the keys of a lease, then the lease: a crash between the two ends it again later.
    pub(super) fn revoke(&mut self, lease: LeaseId, now_ms: i64) -> Result<(), StoreError> {
        if !self.leases.contains(lease) {
            return Err(StoreError::LeaseNotFound(lease));
        }
        for keys in self.leases.keys(lease.0).chunks(TRANSACTION_OPERATIONS_MAX) {
            let deletions = keys.iter().map(|key| Operation::Delete { key: key.clone() });
            let transaction = Transaction { compares: Vec::new(), operations: deletions.collect() };
            for outcome in self.run(vec![transaction], now_ms) {
                outcome?;
            }
        }
        self.bring_back_disk(now_ms)?;
        let mut batch = DiskBatch::default();
        batch.remove(&lease_row(lease.0));
        self.write(batch, self.fsync, now_ms)?;
        self.leases.remove(lease.0);
        self.note_next_work();
        Ok(())
    }

    /// Tells the timer when it has to call next.
    fn note_next_work(&mut self) {
        let oldest = self.shared.state.read().history().front().map(|commit| commit.time_ms);
        let aged = oldest.map(|time_ms| time_ms.saturating_add(self.limits.age_over_ms()));
        let next = aged.into_iter().chain(self.leases.next_expiry_ms()).min();
        self.shared.next_work_ms.store(next.unwrap_or(NEVER_MS), Ordering::Relaxed);
    }
}

/// The engine's own threads met an error; it does not say which.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the storage engine failed between two writes")]
struct DiskFailed;
