//! Bounds of the runtime, in one place.

use std::time::Duration;

/// Largest message between server and shim, in bytes.
pub const FRAME_BYTES_MAX: usize = 256 << 10;
/// Most descriptors that go with one message.
pub const FRAME_DESCRIPTORS_MAX: usize = 3;
/// Most messages that wait for the other side to read.
pub const QUEUE_FRAMES_MAX: usize = 256;
/// Most servers that one shim talks to (the one that is going and the one that is coming).
pub const SHIM_CONNECTIONS_MAX: usize = 8;
/// Most containers of one pod, those that have ended and are not forgotten included.
pub const SHIM_CONTAINERS_MAX: usize = 512;
/// Most commands that run in one pod at a time.
pub const SHIM_EXECS_MAX: usize = 512;
/// Most clients attached to one container.
pub const ATTACHED_MAX: usize = 16;
/// Longest line of a log; a longer one is written in parts marked `P` (as containerd does).
pub const LOG_LINE_BYTES_MAX: usize = 16 << 10;
/// Bytes of one stream of a command that are kept when nobody streams them.
pub const EXEC_SYNC_BYTES_MAX: usize = 16 << 20;
/// Size of a pod's /dev/shm.
pub const SHM_OPTIONS: &str = "mode=1777,size=64m";
/// Events that a slow reader may be behind.
pub const EVENTS_MAX: usize = 4096;
/// How long a shim may take to answer, except for what is bounded otherwise.
pub const SHIM_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a container may take to start.
pub const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the kernel may take to end a process after SIGKILL.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long output may still come after a command has ended (a child of it that keeps the pipe open).
pub const EXEC_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long connecting to a port of a pod may take.
pub const PORT_FORWARD_TIMEOUT: Duration = Duration::from_secs(10);
