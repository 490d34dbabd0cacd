//! The store: all cluster state behind one trait with etcd's meaning.
//!
//! A [`Store`] is an ordered map of byte keys to byte values under one global, gapless revision. Every
//! successful write transaction takes the next revision; all its changes share it. Reads may name any
//! revision that compaction has kept; watches deliver every change from a revision on, in order.
//! Two implementations: the embedded engine (`embedded`) and an etcd v3 cluster (later). Neither knows
//! anything of Kubernetes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

/// A global revision; 0 means "none" (a key that does not exist) or "newest" where a read takes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A lease id; `None` where a key has no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// One key with its value as of some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    pub create_revision: Revision,
    pub mod_revision: Revision,
    /// Number of writes since creation, from 1.
    pub version: u64,
    pub lease: Option<LeaseId>,
}

/// A half-open key range `[start, end)`; an empty `end` means the single key `start`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    pub start: Bytes,
    pub end: Bytes,
}

/// What a transaction requires of one key before it may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    pub key: Bytes,
    /// The key's modification revision must be exactly this; 0 requires that it does not exist.
    pub mod_revision: Revision,
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Put { key: Bytes, value: Bytes, lease: Option<LeaseId> },
    Delete { key: Bytes },
}

/// If all comparisons hold, all operations happen at one new revision; else nothing happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    pub compares: Vec<Compare>,
    pub operations: Vec<Operation>,
}

/// The outcome of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionResult {
    Committed { revision: Revision },
    /// A comparison failed; the present state of the compared keys, in order, as of `revision`.
    Conflict { revision: Revision, present: Vec<Option<KeyValue>> },
}

/// A read of a range at one revision.
#[derive(Clone, Debug)]
pub struct RangeRequest {
    pub range: KeyRange,
    /// 0 for the newest.
    pub revision: Revision,
    /// 0 for no limit.
    pub limit: usize,
}

/// The answer to a [`RangeRequest`].
#[derive(Clone, Debug)]
pub struct RangeResponse {
    /// The store's revision at the time of the read (not the one read at).
    pub revision: Revision,
    pub items: Vec<KeyValue>,
    /// Keys of the range beyond `limit`.
    pub remaining: usize,
}

/// One change. `previous` is the value replaced or deleted, where one existed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Put { current: KeyValue, previous: Option<KeyValue> },
    Delete { key: Bytes, mod_revision: Revision, previous: Option<KeyValue> },
}

/// All changes of one revision that fall into a watched range, or a bare progress mark when `events` is
/// empty: everything up to and including `revision` has been delivered.
#[derive(Clone, Debug)]
pub struct EventBatch {
    pub revision: Revision,
    pub events: Arc<[Event]>,
}

#[async_trait]
pub trait Store: Send + Sync + 'static {
    async fn transact(&self, transaction: Transaction) -> Result<TransactionResult, StoreError>;
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError>;
    /// Every change with a revision greater than `after`, in order. Ends with an error when the watcher
    /// fell too far behind or `after` has been compacted.
    async fn watch(&self, range: KeyRange, after: Revision) -> Result<Watch, StoreError>;
    /// The newest revision, never staler than any write acknowledged before the call.
    async fn revision(&self) -> Result<Revision, StoreError>;
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;
    async fn grant_lease(&self, ttl_seconds: u64) -> Result<LeaseId, StoreError>;
    async fn keep_alive(&self, lease: LeaseId) -> Result<u64, StoreError>;
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError>;
}
