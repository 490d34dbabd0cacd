//! The bounds of the API server.

use std::time::Duration;

/// Largest request body, as upstream's.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Watch events kept per resource for watchers to catch up.
pub const WATCH_EVENTS_KEPT_MAX: usize = 20_000;
/// Bytes of watch events kept per resource.
pub const WATCH_BYTES_KEPT_MAX: usize = 64 * 1024 * 1024;
/// Events of a resource that are kept however old they are.
pub const WATCH_EVENTS_KEPT_LEAST: usize = 100;
/// Events are dropped when they are once to twice as old as this. Upstream keeps them for 75 seconds.
pub const WATCH_AGEING_PERIOD: Duration = Duration::from_secs(75);
/// Bytes gathered before a chunk of a list or watch is handed to the connection.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of such a text that are sent at once: with the nine bytes that HTTP/2 puts before them one whole record of TLS.
/// Pieces of any other size leave a record of a few bytes behind each frame, which costs as much as a large one.
pub const PIECE_BYTES: usize = 16 * 1024 - 9;
/// Watch events taken from the cache at once by one watcher.
pub const WATCH_BATCH_MAX: usize = 512;
/// Tries of a write that names no revision and meets a concurrent one.
pub const WRITE_TRIES_MAX: usize = 20;
/// How long a request may take that is neither a watch nor a stream; upstream's number.
pub const REQUEST_MAX: Duration = Duration::from_secs(60);
/// How long a watch lasts when the client names no limit; upstream picks 30 to 60 minutes.
pub const WATCH_DURATION_DEFAULT: Duration = Duration::from_secs(45 * 60);
/// Longest watch a client may ask for.
pub const WATCH_DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// How often a watch that asked for bookmarks gets one.
pub const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// How long a TLS handshake or the head of a request may take.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Connections served at once.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Requests served at once on one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 250;
/// Pause before the next connection is accepted when the last one could not be.
pub const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Pause before the store is watched again when it could not be.
pub const STORE_RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long a committed change may be on its way into memory before the store is asked how far it is.
pub const EVENT_ON_ITS_WAY_MAX: Duration = Duration::from_millis(10);
/// How long a server counts as running after its last sign of life, in seconds.
pub const MASTER_LEASE_SECONDS: u64 = 15;
/// How often a server shows that it runs.
pub const MASTER_PERIOD: Duration = Duration::from_secs(5);
/// Addresses and ports that one transaction repairs.
pub const REPAIR_BATCH: usize = 100;
/// Names tried for one `generateName`.
pub const GENERATE_NAME_TRIES: usize = 8;
/// Longest name that `generateName` keeps before its random suffix.
pub const GENERATE_NAME_BASE_MAX: usize = 58;
/// Longest name of a field manager, in bytes.
pub const MANAGER_BYTES_MAX: usize = 128;
/// All annotations of an object together, in bytes.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// How long a request may wait for the cache to show a revision.
pub const FRESH_READ_MAX: Duration = Duration::from_secs(10);
/// How long a read waits for a revision that its client names, as upstream's.
pub const NAMED_REVISION_MAX: Duration = Duration::from_secs(3);
/// How long an aggregated server may take to accept a connection.
pub const AGGREGATED_DIAL_MAX: Duration = Duration::from_secs(10);
/// Largest document that is read from an aggregated server.
pub const AGGREGATED_DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Objects that one review asks a conversion webhook about.
pub const CONVERSION_BATCH_MAX: usize = 200;
/// Converted objects kept per custom resource, in all versions together.
pub const CONVERTED_KEPT_MAX: usize = 4096;
/// Seats of all priority levels together: upstream's 400 reading and 200 writing requests.
pub const SEATS_TOTAL: u32 = 600;
/// How long a request may wait for its seats: a quarter of upstream's time for a request.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(15);
/// How long an answer that is being sent keeps its seats: upstream's time for a request.
pub const SEAT_HELD_MAX: Duration = Duration::from_secs(60);
/// How often the objects of priority and fairness that every cluster has are looked after.
pub const FAIRNESS_PERIOD: Duration = Duration::from_secs(60);
/// Kinds of requests that are counted apart.
pub const METRIC_SERIES_MAX: usize = 4000;
/// Audit events that wait to be written; as many as in upstream's buffer.
pub const AUDIT_QUEUE_MAX: usize = 10_000;
/// Audit events that are written at once.
pub const AUDIT_BATCH_MAX: usize = 400;
/// Longest body of an answer that is kept for the audit log.
pub const AUDIT_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest frame, and longest message, that a client may send over the WebSocket of a watch or a log.
pub const WEBSOCKET_INCOMING_BYTES_MAX: usize = 64 * 1024;
/// How long the store may take to answer a health check, as upstream's `--etcd-healthcheck-timeout`.
pub const STORE_CHECK_MAX: Duration = Duration::from_secs(2);
/// Size from which answers are compressed for clients that take it, as upstream's.
pub const GZIP_BYTES_MIN: usize = 128 * 1024;

/// Bytes of a request's body that nobody read and that are read past before the answer, as Go's server does.
pub const LEFTOVER_BYTES_MAX: usize = 256 << 10;

/// How long they are waited for.
pub const LEFTOVER_WAIT_MAX: Duration = Duration::from_millis(100);

/// How long what is left of one direction of a proxied stream has when the other has ended.
pub const STREAM_LINGER_MAX: Duration = Duration::from_secs(2);
