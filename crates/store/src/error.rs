//! What can go wrong with a store, free of HTTP and of any engine's own error type.

use std::sync::Arc;

use crate::{LeaseId, Revision};

/// The cause inside an engine, shared by all transactions of a failed group.
pub type EngineError = Arc<dyn std::error::Error + Send + Sync>;

/// Why the store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The revision asked for is no longer kept; list again.
    #[error("revision {requested} has been compacted; the oldest kept is {compacted}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest revision that can be read.
        compacted: Revision,
    },
    /// The revision asked for does not exist yet.
    #[error("revision {requested} is in the future; the newest is {newest}")]
    FutureRevision {
        /// What was asked for.
        requested: Revision,
        /// The newest revision.
        newest: Revision,
    },
    /// The disk is full; reads go on, and so do writes when there is room again.
    #[error("no space left on the device of the store")]
    NoSpace,
    /// What is on the disk is not what was written; nothing of it is served.
    #[error("the store is corrupt: {what}")]
    Corrupt {
        /// The file or record, and what is wrong with it.
        what: String,
    },
    /// Another process uses the directory.
    #[error("the store at {path} is in use by another process")]
    Locked {
        /// The directory.
        path: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The watcher did not keep up with the changes; list again.
    #[error("the watcher fell too far behind")]
    TooSlow,
    /// There is no such lease, or it has ended.
    #[error("lease {} does not exist", .0.0)]
    LeaseNotFound(LeaseId),
    /// The transaction is malformed or larger than the store takes.
    #[error("invalid transaction: {reason}")]
    InvalidTransaction {
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody knows whether the transaction took place: the etcd member that was asked did not answer, or
    /// lost its leader meanwhile. What was read before has to be read again.
    #[error("it is unknown whether etcd has managed to {attempted}")]
    Uncertain {
        /// What was being done.
        attempted: &'static str,
        /// etcd's or the connection's own words.
        #[source]
        source: EngineError,
    },
    /// The store cannot be opened with these options.
    #[error("{reason}")]
    InvalidOption {
        /// Which, and what is wrong with it.
        reason: String,
    },
    /// The engine failed. A transaction that ends this way did not take place.
    #[error("the storage engine failed while it tried to {attempted}")]
    Engine {
        /// What was being done.
        attempted: &'static str,
        /// The engine's own words.
        #[source]
        source: EngineError,
    },
}

impl StoreError {
    /// An engine failure while doing `attempted`.
    pub(crate) fn engine(
        attempted: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Engine { attempted, source: Arc::new(source) }
    }
}
