//! The bounds of this crate.

use std::time::Duration;

/// First pause before a pod is tried again.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest pause before a pod is tried again.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// After this many failed tries a pod sits its pauses out even when nobody else wants to be tried.
pub const EARLY_TRIES_MAX: u32 = 3;
/// A pod that waits for a change is tried again after this long without one.
pub const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(5 * 60);
/// Bindings and reports that may be under way at a time.
pub const TASKS_MAX: usize = 128;
/// Pods whose last task is remembered before finished ones are forgotten; more only while that many wait
/// for their claims.
pub const TASKS_REMEMBERED_MAX: usize = 4 * TASKS_MAX;
/// Outcomes that may wait for the loop.
pub const OUTCOMES_QUEUED_MAX: usize = 256;
/// Changes that are looked at between two decisions.
pub const CHANGES_PER_TURN_MAX: usize = 256;
/// How long the claims of a pod may take to be bound.
pub const VOLUME_BIND_MAX: Duration = Duration::from_secs(600);
/// How long the first lists may take before the log says what is missing.
pub const SYNC_COMPLAIN_AFTER: Duration = Duration::from_secs(5);
/// Characters of an event's message.
pub const EVENT_MESSAGE_MAX: usize = 1024;
/// Times that a write that failed on the server's side is tried.
pub const WRITE_TRIES_MAX: u32 = 5;
/// First pause between such tries; it doubles.
pub const WRITE_PAUSE_MIN: Duration = Duration::from_millis(10);

const _: () = assert!(BACKOFF_MIN.as_millis() <= BACKOFF_MAX.as_millis());
