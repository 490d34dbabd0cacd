//! The bounds of this crate; times are upstream's where it has them.

use std::time::Duration;

/// Image pulls at the same time.
pub const PULLS_MAX: usize = 4;
/// Status writes at the same time.
pub const STATUS_WRITERS: usize = 4;
/// How long a status that only says "not yet" may wait for the next, better one.
pub const STATUS_LINGER: Duration = Duration::from_millis(50);
/// How often the lease of a node is renewed.
pub const LEASE_PERIOD: Duration = Duration::from_secs(10);
/// How long a lease holds.
pub const LEASE_SECONDS: i32 = 40;
/// How often the machine is looked at for a change of the node's status.
pub const NODE_STATUS_PERIOD: Duration = Duration::from_secs(10);
/// How often the node's status is written when nothing has changed.
pub const NODE_REPORT_PERIOD: Duration = Duration::from_secs(300);
/// First pause after the node could not be registered.
pub const REGISTER_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause after the node could not be registered.
pub const REGISTER_PAUSE_MAX: Duration = Duration::from_secs(7);
/// First pause after something about a pod failed.
pub const POD_PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause after something about a pod failed.
pub const POD_PAUSE_MAX: Duration = Duration::from_secs(122);
/// How long a volume waits for a config map or secret to be watched before it reports a failure.
pub const REFERENCE_WAIT: Duration = Duration::from_secs(5);
/// How often logs are looked at for rotation.
pub const LOG_ROTATION_PERIOD: Duration = Duration::from_secs(10);
/// Size from which on a log is rotated, in bytes.
pub const LOG_BYTES_MAX: u64 = 10 << 20;
/// Files kept per container's log.
pub const LOG_FILES_MAX: usize = 5;
/// Dead containers kept per name, beside the newest.
pub const DEAD_CONTAINERS_MAX: usize = 1;
/// Bytes of a response that a probe or hook reads.
pub const PROBE_BODY_BYTES_MAX: usize = 10 << 10;
/// Redirects that a probe follows.
pub const PROBE_REDIRECTS_MAX: usize = 10;
/// How often a probe that cannot be run is tried at once, before it is an error.
pub const PROBE_TRIES_MAX: usize = 3;
/// Pause before a probe that cannot connect over gRPC does so again, as long as its time lasts.
pub const PROBE_RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Bytes of an exec probe's output that an event shows.
pub const PROBE_OUTPUT_BYTES_MAX: usize = 10 << 10;
/// Share of a token's life after which a new one is asked for.
pub const TOKEN_REFRESH_SHARE: f64 = 0.8;
/// A token older than this is replaced however long it lasts.
pub const TOKEN_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Connections to the server at the same time.
pub const CONNECTIONS_MAX: usize = 1024;
/// How long a TLS handshake may take.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Bytes of one SPDY frame.
pub const SPDY_FRAME_BYTES_MAX: usize = 4 << 20;
/// Bytes of a SPDY stream's headers.
pub const SPDY_HEADER_BYTES_MAX: usize = 64 << 10;
/// SPDY streams of one connection at the same time.
pub const SPDY_STREAMS_MAX: usize = 1024;
/// SPDY frames that wait to be written.
pub const SPDY_FRAMES_QUEUED_MAX: usize = 64;
/// Bytes of one WebSocket message.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes buffered per direction of a stream.
pub const STREAM_BUFFER_BYTES: usize = 64 << 10;
/// How long a stream stays open without any traffic.
pub const STREAM_IDLE_MAX: Duration = Duration::from_secs(4 * 3600);
/// How long a client of a stream has to close it when all has been said.
pub const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// How long a process has to read what a client typed before it left.
pub const INPUT_LINGER_MAX: Duration = Duration::from_secs(30);
/// Bytes read from a log in one step.
pub const LOG_CHUNK_BYTES: usize = 64 << 10;
/// Longest line of a log that is handed out in one piece, in bytes.
pub const LOG_LINE_BYTES_MAX: usize = 1 << 20;
/// How often eviction thresholds are looked at.
pub const EVICTION_PERIOD: Duration = Duration::from_secs(10);
/// How often images are considered for removal.
pub const IMAGE_GC_PERIOD: Duration = Duration::from_secs(300);
/// How long an image must have been unused before it is removed.
pub const IMAGE_AGE_MIN: Duration = Duration::from_secs(120);
/// How long the containers of a pod that is evicted have to end, in seconds.
pub const EVICTION_GRACE_S: i64 = 1;
/// How often the local storage of pods is measured against their limits.
pub const STORAGE_LIMIT_PERIOD: Duration = Duration::from_secs(10);

const _: () = assert!(LEASE_PERIOD.as_secs() * 2 < LEASE_SECONDS as u64);
const _: () = assert!(POD_PAUSE_MIN.as_millis() < POD_PAUSE_MAX.as_millis());
