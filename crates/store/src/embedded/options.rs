//! How an embedded store is opened.

use std::path::PathBuf;
use std::time::Duration;

use clock::Clock;

/// Settings of an [`EmbeddedStore`](super::EmbeddedStore).
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The directory of the store; created when it does not exist.
    pub path: PathBuf,
    /// Whether a write is on the disk before it is acknowledged. Without it a crash of the process loses
    /// nothing, but a crash of the machine or a power cut loses the last seconds and may leave a journal
    /// that only [`recover`](super::recover) can make usable: for throw-away clusters.
    pub fsync: bool,
    /// History older than this is compacted, in steps of an eighth of it.
    pub history_age_max: Duration,
    /// Revisions that are kept at most.
    pub history_revisions_max: usize,
    /// Memory that the history may hold beyond the newest state, in bytes.
    pub history_bytes_max: usize,
    /// Free space at which writes are refused, so that the engine can still tidy up; at most a
    /// sixteenth of the file system is taken for this, in bytes.
    pub space_reserve_bytes: u64,
    /// Where leases and the age of the history get the time from.
    pub clock: Clock,
}

impl EmbeddedOptions {
    /// The settings of an ordinary cluster: durable, five minutes of history.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            fsync: true,
            history_age_max: Duration::from_secs(300),
            history_revisions_max: 100_000,
            history_bytes_max: 128 << 20,
            space_reserve_bytes: 64 << 20,
            clock: Clock::system(),
        }
    }
}
