//! Spawning, shutdown and supervision of tasks.
//!
//! A [`Scope`] owns tasks. Cancelling it asks all of them, and those of its children, to end;
//! [`Scope::finish`] waits for them with a bound. A task that panics is logged by name and, when it was
//! started with [`Scope::supervise`], started again: crash-only, also inside the process.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// The longest pause before a supervised task is started again.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
/// The pause before the first restart of a supervised task.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(50);

/// A group of tasks that end together; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Scope {
    /// A scope of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// A scope that is cancelled with this one, and that this one waits for when it finishes.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), tracker: self.tracker.clone() }
    }

    /// Starts `future`; it runs to its end, so it must watch [`Scope::cancelled`] by itself.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(report_panic(name, future))
    }

    /// Starts `future` and drops it where it stands when the scope is cancelled. Right for loops whose
    /// every await may be the last.
    pub fn spawn_until_cancelled<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = self.token.clone();
        self.spawn(name, async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = future => {}
            }
        })
    }

    /// Runs `start()` until the scope is cancelled, again after a growing pause whenever it returns or
    /// panics.
    #[expect(clippy::disallowed_methods, reason = "the clock crate is of the same layer")]
    pub fn supervise<S, F>(&self, name: &'static str, mut start: S) -> JoinHandle<()>
    where
        S: FnMut() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_until_cancelled(name, async move {
            let mut pause = RESTART_PAUSE_MIN;
            loop {
                let began = tokio::time::Instant::now();
                report_panic(name, start()).await;
                if began.elapsed() > RESTART_PAUSE_MAX {
                    pause = RESTART_PAUSE_MIN;
                }
                tracing::warn!(task = name, pause_ms = pause.as_millis(), "task ended; restarting");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RESTART_PAUSE_MAX);
            }
        })
    }

    /// Asks every task of the scope to end.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Whether the scope was asked to end.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when the scope is asked to end.
    pub fn cancelled(&self) -> WaitForCancellationFutureOwned {
        self.token.clone().cancelled_owned()
    }

    /// Cancels the scope and waits for its tasks; `false` when some outlived `limit`.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

async fn report_panic<F: Future<Output = ()>>(name: &'static str, future: F) {
    let caught = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(future)).await;
    if let Err(panic) = caught {
        let message = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".to_owned());
        tracing::error!(task = name, message, "task panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_supervised_task_that_panics_runs_again() {
        let scope = Scope::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&runs);
        let (third, done) = tokio::sync::oneshot::channel();
        let third = Arc::new(std::sync::Mutex::new(Some(third)));
        scope.supervise("test", move || {
            let (counter, third) = (Arc::clone(&counter), Arc::clone(&third));
            async move {
                if counter.fetch_add(1, Ordering::SeqCst) < 2 {
                    panic!("again");
                }
                if let Some(third) = third.lock().unwrap().take() {
                    third.send(()).unwrap();
                }
            }
        });
        done.await.unwrap();
        assert!(scope.finish(Duration::from_secs(1)).await);
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn finish_reports_a_task_that_does_not_end() {
        let scope = Scope::new();
        scope.child().spawn("stuck", std::future::pending());
        assert!(!scope.finish(Duration::from_secs(1)).await);
    }
}
