//! The bounds of this crate.

use std::time::Duration;

/// The shortest time from the end of one change of the rules to the beginning of the next; a change that
/// comes after a longer quiet time is applied at once.
pub const SYNC_PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest, after a change that took long.
pub const SYNC_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The pause before another attempt after the kernel refused a change.
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The rules are compared with the kernel's at least this often, should a notice have been lost.
pub const VERIFY_PERIOD: Duration = Duration::from_secs(600);
/// Clients that one endpoint of a Service with session affinity remembers.
pub const AFFINITY_CLIENTS_MAX: u32 = 65_536;
/// Elements that one operation carries.
pub const ELEMENTS_PER_OPERATION_MAX: usize = 10_000;
/// Bytes of a health check's request head.
pub const HEALTH_HEAD_BYTES_MAX: usize = 8 * 1024;
/// How long a health check may take.
pub const HEALTH_CHECK_TIME_MAX: Duration = Duration::from_secs(10);
/// Health checks answered at once on one port.
pub const HEALTH_CONNECTIONS_MAX: usize = 64;

const _: () = assert!(SYNC_PAUSE_MIN.as_millis() < SYNC_PAUSE_MAX.as_millis());
