//! Every bound of the store.

use std::time::Duration;

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
/// The history of the smallest store may hold this many bytes in memory; that of a larger one as many as
/// its data, up to what the options say.
pub const HISTORY_BYTES_LEAST: usize = 8 << 20;
/// Keys that a snapshot reads at once.
pub const SNAPSHOT_PAGE_KEYS: usize = 1000;
/// Keys that one transaction puts back from a snapshot; etcd takes 128 operations unless told otherwise.
pub const SNAPSHOT_TRANSACTION_KEYS: usize = 100;
/// Bytes that one transaction puts back from a snapshot, unless one key has more; etcd takes 1.5 MiB.
pub const SNAPSHOT_TRANSACTION_BYTES: usize = 1 << 20;
/// The longest explanation in a snapshot that had to be given up, in bytes.
pub const SNAPSHOT_WORDS_BYTES_MAX: usize = 4096;
/// How long connecting to a member of etcd may take.
pub const ETCD_CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long a member of etcd may take over a read before another is asked.
pub const ETCD_READ_MAX: Duration = Duration::from_secs(2);
/// How long a member of etcd may take over a write before its outcome counts as unknown.
pub const ETCD_WRITE_MAX: Duration = Duration::from_secs(5);
/// How long a member of etcd may take over a write that may be tried again before another is asked.
pub const ETCD_TIED_WRITE_MAX: Duration = Duration::from_secs(2);
/// How often members are asked what became of such a write.
pub const ETCD_FATE_ATTEMPTS_MAX: usize = 3;
/// How long members are asked for one answer, all together: longer than an election takes.
pub const ETCD_PATIENCE: Duration = Duration::from_secs(6);
/// How often members are asked for one answer, all together.
pub const ETCD_ATTEMPTS_MAX: usize = 100;
/// The first and the longest pause when no member has answered.
pub const ETCD_BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// The longest answer of etcd, in bytes.
pub const ETCD_ANSWER_BYTES_MAX: usize = 256 << 20;
/// How often a silent connection to etcd is probed; etcd does not take more than one probe in five seconds.
pub const ETCD_PING_PERIOD: Duration = Duration::from_secs(6);
/// How long the answer to a probe may take.
pub const ETCD_PING_ANSWER_MAX: Duration = Duration::from_secs(3);
/// Keys that one request reads from etcd.
pub const ETCD_RANGE_PAGE_KEYS: usize = 1000;
/// How long a change may be on its way before the watch of etcd is given a mark of its own to wait for.
pub const ETCD_EVENT_MAX: Duration = Duration::from_millis(25);
/// How long such a mark may be on its way before another member is watched.
pub const ETCD_MARK_MAX: Duration = Duration::from_secs(1);
/// Changes that a watcher may ask for from before the store began to follow etcd.
pub const ETCD_BACKLOG_BATCHES_MAX: usize = 1 << 20;
/// Watchers that may wait for a progress mark at once.
pub const PROGRESS_WAITING_MAX: usize = 1 << 16;
/// Bytes that a record may claim for its key before it is called corrupt.
pub const RECORD_BYTES_MAX: usize = TRANSACTION_BYTES_MAX + 1024;

const _: () = assert!(WATCH_TAKE_BATCHES < WATCH_BATCHES_MAX);
const _: () = assert!(ETCD_EVENT_MAX.as_millis() < ETCD_MARK_MAX.as_millis());
const _: () = assert!(KEY_BYTES_MAX < TRANSACTION_BYTES_MAX);
