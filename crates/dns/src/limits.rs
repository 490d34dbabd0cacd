//! The bounds of this crate.

use std::time::Duration;

/// The largest answer over UDP without EDNS (RFC 1035).
pub const UDP_ANSWER_BYTES: usize = 512;
/// The largest answer over UDP with EDNS: what passes every link without fragments.
pub const UDP_ANSWER_BYTES_MAX: usize = 1232;
/// The largest message over TCP; its length has 16 bits.
pub const TCP_MESSAGE_BYTES_MAX: usize = 65_535;
/// The largest question, and the largest answer of a name server over UDP that is read.
pub const QUESTION_BYTES_MAX: usize = 4096;
/// Questions that are being asked elsewhere at once.
pub const FORWARDS_MAX: usize = 1024;
/// TCP connections at once.
pub const TCP_CONNECTIONS_MAX: usize = 256;
/// How long a TCP connection may be idle.
pub const TCP_IDLE_MAX: Duration = Duration::from_secs(10);
/// How long one name server of the host may take.
pub const FORWARD_ATTEMPT_MAX: Duration = Duration::from_secs(2);
/// How many name servers of the host are asked.
pub const FORWARD_SERVERS_MAX: usize = 3;
/// How often a host's list of name servers is looked at for changes.
pub const HOST_SERVERS_CHECK_PERIOD: Duration = Duration::from_secs(5);
/// Answers of others that are kept.
pub const CACHE_ANSWERS_MAX: usize = 4096;
/// Records in an answer that is kept.
pub const CACHE_RECORDS_MAX: usize = 64;
/// How long answers of others are kept at most.
pub const CACHE_TTL_MAX_SECONDS: u32 = 30;
/// The shortest time from one zone to the next; a change after a longer quiet time counts at once.
pub const ZONE_PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest, after a zone that took long to build.
pub const ZONE_PAUSE_MAX: Duration = Duration::from_secs(1);

const _: () = assert!(UDP_ANSWER_BYTES <= UDP_ANSWER_BYTES_MAX);
const _: () = assert!(CACHE_ANSWERS_MAX >= 2);
