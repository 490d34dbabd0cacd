//! The store: all cluster state behind one trait with etcd's meaning.
//!
//! A [`Store`] is an ordered map of byte keys to byte values under one global revision. Every write
//! transaction that changes something takes the next revision; all its changes share it. Reads may name
//! any revision that compaction has kept; watches deliver every change from a revision on, in order.
//! Two implementations: the embedded engine ([`embedded`]) and an etcd v3 cluster ([`etcd`]). Neither knows
//! anything of Kubernetes. [`snapshot`] saves and restores either.

use async_trait::async_trait;

mod commit;
pub mod embedded;
mod error;
pub mod etcd;
mod fanout;
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
pub mod snapshot;
mod types;
mod validate;
mod watch;

pub use error::{EngineError, StoreError};
pub use types::{
    Compare, Event, EventBatch, KeyRange, KeyValue, LeaseId, Operation, RangeRequest,
    RangeResponse, Revision, Transaction, TransactionResult,
};
pub use watch::{ProgressRequester, Watch};

/// All cluster state, with etcd's meaning. Implementations are cheap to share behind an `Arc`.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Runs `transaction` atomically; on return a commit is durable and visible to every later read.
    async fn transact(&self, transaction: Transaction) -> Result<TransactionResult, StoreError>;

    /// Reads a range at one revision, in key order.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError>;

    /// Every change with a revision greater than `after`, in order. Ends with an error when the watcher
    /// fell too far behind or `after` has been compacted.
    async fn watch(&self, range: KeyRange, after: Revision) -> Result<Watch, StoreError>;

    /// The newest revision, never staler than any write acknowledged before the call.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Forgets the history below `revision`; reads and watches at or after it stay possible.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// Creates a lease; keys put with it are deleted when it ends.
    async fn grant_lease(&self, ttl_seconds: u64) -> Result<LeaseId, StoreError>;

    /// Starts the lease's time afresh; answers its time to live in seconds.
    async fn keep_alive(&self, lease: LeaseId) -> Result<u64, StoreError>;

    /// The time to live that a lease was granted, in seconds.
    async fn lease_ttl(&self, lease: LeaseId) -> Result<u64, StoreError>;

    /// Ends a lease and deletes its keys.
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError>;
}
