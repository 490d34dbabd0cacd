//! Keeping the process small: now and then what it holds without need goes back to the kernel.

use std::time::Duration;

use clock::Clock;

/// How often. A burst of work leaves memory behind for this long at most.
const PERIOD: Duration = Duration::from_secs(60);

/// Tidies up now, when everything has started, and then for ever.
pub(crate) fn start(clock: Clock, scope: &task::Scope) {
    scope.spawn_until_cancelled("housekeeping", async move {
        loop {
            // It walks over all free memory: not on a thread that requests wait for.
            if let Err(error) = tokio::task::spawn_blocking(tidy).await {
                tracing::warn!(%error, "memory is not given back");
            }
            clock.sleep(PERIOD).await;
        }
    });
}

fn tidy() {
    linux::memory::trim();
    if let Err(error) = linux::memory::release_program() {
        tracing::debug!(%error, "the program's own pages stay in memory");
    }
}
