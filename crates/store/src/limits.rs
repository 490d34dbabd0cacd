//! Every bound of the store.

/// The most transactions that share one flush.
pub const GROUP_TRANSACTIONS_MAX: usize = 1024;
/// The most bytes of keys and values that share one flush (a single larger transaction still runs).
pub const GROUP_BYTES_MAX: usize = 4 << 20;
/// Requests that may wait for the writer before callers wait to be let in.
pub const REQUESTS_WAITING_MAX: usize = 4096;
/// The largest key, in bytes.
pub const KEY_BYTES_MAX: usize = 8 << 10;
/// The largest transaction, keys and values together, in bytes.
pub const TRANSACTION_BYTES_MAX: usize = 16 << 20;
/// The most operations and, separately, comparisons of one transaction.
pub const TRANSACTION_OPERATIONS_MAX: usize = 4096;
/// Keys that one look at the index visits before it lets the writer in.
pub const RANGE_SLICE_KEYS: usize = 2048;
/// Revisions that one look at the history visits before it lets the writer in.
pub const HISTORY_SLICE_REVISIONS: usize = 4096;
/// Revisions whose garbage is collected between two groups.
pub const GARBAGE_SLICE_REVISIONS: usize = 1024;
/// Batches that wait for the slowest watcher of a range; a watcher that needs an older one is too slow.
pub const WATCH_BATCHES_MAX: usize = 16 << 10;
/// Bytes of keys and values that wait for the slowest watcher of a range.
pub const WATCH_BYTES_MAX: usize = 64 << 20;
/// Batches that a watcher takes at once.
pub const WATCH_TAKE_BATCHES: usize = 64;
/// Ranges with more watchers than this are woken by a task of their own, paced, instead of the writer.
pub const WATCHERS_WOKEN_INLINE_MAX: usize = 64;
/// The pause after waking a crowd, for each watcher in it, in nanoseconds.
pub const CROWD_PACE_NANOSECONDS: u64 = 2000;
/// The shortest and longest lease, in seconds.
pub const LEASE_TTL_SECONDS: std::ops::RangeInclusive<u64> = 1..=9_000_000_000;
/// Leases that may exist at once.
pub const LEASES_MAX: usize = 1 << 20;
/// Bytes that a record may claim for its key before it is called corrupt.
pub const RECORD_BYTES_MAX: usize = TRANSACTION_BYTES_MAX + 1024;

const _: () = assert!(WATCH_TAKE_BATCHES < WATCH_BATCHES_MAX);
const _: () = assert!(KEY_BYTES_MAX < TRANSACTION_BYTES_MAX);
