//! The bounds and fixed times of this crate; the values are upstream's.

use std::time::Duration;

/// First pause before a failed container or image pull is tried again.
pub const BACKOFF_MIN: Duration = Duration::from_secs(10);
/// Longest pause before a failed container or image pull is tried again.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A container that ran this long has earned a fresh start of its back-off.
pub const BACKOFF_RESET: Duration = Duration::from_secs(600);
/// Longest termination message read from a file, in bytes.
pub const TERMINATION_MESSAGE_BYTES_MAX: usize = 4096;
/// Longest termination message taken from the log, in bytes.
pub const TERMINATION_LOG_BYTES_MAX: usize = 2048;
/// Longest termination message taken from the log, in lines.
pub const TERMINATION_LOG_LINES_MAX: usize = 80;
/// Name servers that a resolver reads.
pub const DNS_SERVERS_MAX: usize = 3;
/// Search domains that a resolver reads.
pub const DNS_SEARCHES_MAX: usize = 32;
/// Characters of the search line that a resolver reads.
pub const DNS_SEARCH_CHARACTERS_MAX: usize = 2048;
/// Characters of a host name.
pub const HOSTNAME_CHARACTERS_MAX: usize = 63;
/// Characters of a fully qualified name that the kernel takes as a host name.
pub const FQDN_CHARACTERS_MAX: usize = 64;
/// Length of a processor scheduling period, in microseconds.
pub const CPU_PERIOD_US: i64 = 100_000;
/// Grace for containers that fail a probe without naming their own, in seconds.
pub const GRACE_DEFAULT_S: i64 = 30;
/// Least time that a container gets between its pre-stop hook and SIGKILL, in seconds.
pub const GRACE_MIN_S: i64 = 2;

const _: () = assert!(BACKOFF_MIN.as_secs() < BACKOFF_MAX.as_secs());
const _: () = assert!(TERMINATION_LOG_BYTES_MAX <= TERMINATION_MESSAGE_BYTES_MAX);
