//! Keeping the process small: now and then what it holds without need goes back to the kernel.

use std::io;
use std::time::Duration;

use clock::Clock;

/// How often it is looked whether there is something to tidy up.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
/// How many looks pass without a change before it is done all the same.
const LOOKS_MAX: u32 = 12;
/// Memory that came since the last time, in bytes, after which the next look does not pass: the load of a burst brings
/// code and buffers into memory that nobody uses once it is over.
const GROWTH_BYTES: u64 = 8 << 20;

/// Tidies up now, when everything has started, and then for ever.
pub(crate) fn start(clock: Clock, scope: &task::Scope) {
    scope.spawn_until_cancelled("housekeeping", async move {
        loop {
            // It walks over all free memory: not on a thread that requests wait for.
            let tidied = match tokio::task::spawn_blocking(tidy).await {
                Ok(resident) => resident,
                Err(panicked) => Err(io::Error::other(panicked)),
            };
            if let Err(error) = &tidied {
                tracing::warn!(%error, "memory is not given back");
            }
            let resident = tidied.unwrap_or(u64::MAX);
            for _ in 0..LOOKS_MAX {
                clock.sleep(LOOK_PERIOD).await;
                if has_grown(resident) {
                    break;
                }
            }
        }
    });
}

/// Whether much has come since there were `before` bytes.
fn has_grown(before: u64) -> bool {
    linux::memory::resident_bytes().is_ok_and(|now| now > before.saturating_add(GROWTH_BYTES))
}

/// Gives back what can be; answers the bytes that are left.
fn tidy() -> io::Result<u64> {
    linux::memory::trim();
    if let Err(error) = linux::memory::release_program() {
        tracing::debug!(%error, "the program's own pages stay in memory");
    }
    linux::memory::resident_bytes()
}
