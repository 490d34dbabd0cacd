//! The bounds of this crate.

use std::time::Duration;

/// First pause after a failed reconcile.
pub const RETRY_PAUSE_MIN: Duration = Duration::from_millis(5);
/// Longest pause after failed reconciles; upstream waits up to 1,000 s, which nobody wants.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// First pause after a list or watch that failed.
pub const WATCH_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause after a list or watch that failed.
pub const WATCH_PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long one watch request lasts before it is renewed.
pub const WATCH_SECONDS: u32 = 300;
/// Objects per page of a remote list.
pub const LIST_PAGE: u32 = 500;
/// Updates that may wait for a slow consumer of a remote watch.
pub const UPDATES_QUEUED_MAX: usize = 1024;
/// Events that may wait to be written; more are dropped and counted in the log.
pub const EVENTS_QUEUED_MAX: usize = 1024;
/// Distinct events remembered for counting repeats.
pub const EVENTS_REMEMBERED_MAX: usize = 4096;
/// How long one attempt to write a Lease may take.
pub const ELECTION_REQUEST_MAX: Duration = Duration::from_secs(5);
/// By how much of the period attempts to lead are spread.
pub const ELECTION_JITTER: f64 = 1.2;

const _: () = assert!(RETRY_PAUSE_MIN.as_millis() < RETRY_PAUSE_MAX.as_millis());
const _: () = assert!(WATCH_PAUSE_MIN.as_millis() < WATCH_PAUSE_MAX.as_millis());
