//! Keeping the process small: now and then what it holds without need goes back to the kernel.

use std::io;
use std::time::Duration;

use clock::Clock;

/// How often it is looked whether there is something to tidy up.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How many looks pass without a burst before it is done all the same.
const LOOKS_MAX: u32 = 60;
/// Memory that a burst brings, in bytes: code and buffers that nobody uses once it is over.
const BURST_BYTES: u64 = 8 << 20;
/// Memory that comes between two looks when a burst is over, in bytes. While it lasts, work goes first.
const CALM_BYTES: u64 = 1 << 20;

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
            after_a_burst(&clock, tidied.unwrap_or(u64::MAX)).await;
        }
    });
}

/// Resolves when a burst of work has come and gone since there were `tidied` bytes, or after some time without one.
async fn after_a_burst(clock: &Clock, tidied: u64) {
    let mut before = tidied;
    for _ in 0..LOOKS_MAX {
        clock.sleep(LOOK_PERIOD).await;
        let Ok(now) = linux::memory::resident_bytes() else { continue };
        if is_over(tidied, before, now) {
            return;
        }
        before = now;
    }
}

/// Whether there was a burst, of `tidied` bytes at its beginning, that has ended: by the bytes of the look before and of
/// this one.
fn is_over(tidied: u64, before: u64, now: u64) -> bool {
    now > tidied.saturating_add(BURST_BYTES) && now <= before.saturating_add(CALM_BYTES)
}

/// Gives back what can be; answers the bytes that are left.
fn tidy() -> io::Result<u64> {
    linux::memory::trim();
    if let Err(error) = linux::memory::release_program() {
        tracing::debug!(%error, "the program's own pages stay in memory");
    }
    linux::memory::resident_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_over_when_memory_stays() {
        let mib = |count: u64| count << 20;
        for (tidied, before, now, over) in [
            (20, 20, 24, false),
            (20, 20, 40, false),
            (20, 40, 40, true),
            (20, 40, 41, true),
            (20, 40, 43, false),
            (20, 60, 30, true),
            (20, 28, 28, false),
        ] {
            assert_eq!(is_over(mib(tidied), mib(before), mib(now)), over, "{before} {now}");
        }
    }
}
