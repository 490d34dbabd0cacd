//! The queue of keys that drives a reconciler.
//!
//! A key is in the queue at most once and is never worked on by two workers at the same time; one added
//! while it is being worked on runs again afterwards. Failures come back after a pause that doubles per
//! key. The queue's size is bounded by the number of distinct keys.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};

struct State<T> {
    ready: VecDeque<T>,
    /// Keys in `ready`, and keys to run again after their present run.
    dirty: HashSet<T>,
    running: HashSet<T>,
    delayed: HashMap<T, Instant>,
    failures: HashMap<T, u32>,
}

/// See the module's text; cheap to clone, shared by all clones.
pub struct WorkQueue<T> {
    state: Arc<Mutex<State<T>>>,
    wake: Arc<Notify>,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), wake: Arc::clone(&self.wake) }
    }
}

impl<T> Debug for WorkQueue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorkQueue")
    }
}

impl<T> Default for WorkQueue<T> {
    fn default() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            running: HashSet::new(),
            delayed: HashMap::new(),
            failures: HashMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), wake: Arc::new(Notify::new()) }
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, key: T) {
        if !self.dirty.insert(key.clone()) || self.running.contains(&key) {
            return;
        }
        self.ready.push_back(key);
    }

    /// Moves what is due to the ready list; the time of the next one.
    fn promote(&mut self, now: Instant) -> Option<Instant> {
        let due: Vec<T> =
            self.delayed.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.delayed.remove(&key);
            self.add(key);
        }
        self.delayed.values().min().copied()
    }
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key; nothing happens when it waits already.
    pub fn add(&self, key: T) {
        self.state.lock().add(key);
        self.wake.notify_one();
    }

    /// Adds a key after a pause; of several pauses for one key the earliest end counts.
    pub fn add_after(&self, key: T, pause: Duration) {
        if pause.is_zero() {
            return self.add(key);
        }
        let at = Instant::now() + pause;
        let mut state = self.state.lock();
        let slot = state.delayed.entry(key).or_insert(at);
        *slot = at.min(*slot);
        drop(state);
        self.wake.notify_one();
    }

    /// Adds a key after a pause that doubles with each call until [`WorkQueue::forget`].
    pub fn add_after_failure(&self, key: T) {
        let pause = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let pause =
                RETRY_PAUSE_MIN.saturating_mul(1 << (*failures).min(20)).min(RETRY_PAUSE_MAX);
            *failures = failures.saturating_add(1);
            pause
        };
        self.add_after(key, pause);
    }

    /// Forgets a key's failures.
    pub fn forget(&self, key: &T) {
        self.state.lock().failures.remove(key);
    }

    /// How often a key has failed in a row.
    pub fn failures(&self, key: &T) -> u32 {
        self.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// Keys that wait or run.
    pub fn len(&self) -> usize {
        let state = self.state.lock();
        state.ready.len() + state.running.len() + state.delayed.len()
    }

    /// Whether nothing waits or runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next key. The caller must hand it back with [`WorkQueue::done`].
    pub async fn next(&self) -> T {
        loop {
            let woken = self.wake.notified();
            let next_due = {
                let mut state = self.state.lock();
                let next_due = state.promote(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.running.insert(key.clone());
                    if !state.ready.is_empty() || next_due.is_some() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                next_due
            };
            match next_due {
                None => woken.await,
                Some(at) => tokio::select! {
                    () = woken => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    /// Ends a key's run; it runs again when it was added meanwhile.
    pub fn done(&self, key: &T) {
        let mut state = self.state.lock();
        state.running.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.wake.notify_one();
        }
    }
}

/// What a reconcile wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing until the next change.
    Done,
    /// To run again after a pause, changes or not.
    After(Duration),
}

/// Runs `workers` loops that take keys and reconcile them until `scope` is cancelled. An error is
/// logged with the key and comes back after a growing pause.
pub fn run_workers<T, R, F, E>(
    scope: &task::Scope,
    name: &'static str,
    workers: usize,
    queue: &WorkQueue<T>,
    reconcile: R,
) where
    T: Clone + Eq + Hash + Debug + Send + Sync + 'static,
    R: Fn(T) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Outcome, E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    for _ in 0..workers {
        let (queue, reconcile) = (queue.clone(), reconcile.clone());
        scope.supervise(name, move || {
            let (queue, reconcile) = (queue.clone(), reconcile.clone());
            async move {
                loop {
                    work_on_next(name, &queue, &reconcile).await;
                }
            }
        });
    }
}

/// Hands the key back even when the reconcile panics.
struct Running<'a, T: Clone + Eq + Hash> {
    queue: &'a WorkQueue<T>,
    key: T,
}

impl<T: Clone + Eq + Hash> Drop for Running<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue.add_after_failure(self.key.clone());
        }
        self.queue.done(&self.key);
    }
}

async fn work_on_next<T, R, F, E>(name: &'static str, queue: &WorkQueue<T>, reconcile: &R)
where
    T: Clone + Eq + Hash + Debug,
    R: Fn(T) -> F,
    F: Future<Output = Result<Outcome, E>>,
    E: std::fmt::Display,
{
    let running = Running { queue, key: queue.next().await };
    match reconcile(running.key.clone()).await {
        Ok(outcome) => {
            queue.forget(&running.key);
            if let Outcome::After(pause) = outcome {
                queue.add_after(running.key.clone(), pause);
            }
        }
        Err(error) => {
            tracing::debug!(worker = name, key = ?running.key, %error, "reconcile failed");
            queue.add_after_failure(running.key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_runs_again_when_added_while_running() {
        let queue = WorkQueue::new();
        queue.add(1);
        queue.add(1);
        assert_eq!(queue.next().await, 1);
        queue.add(1);
        let other = tokio::time::timeout(Duration::from_secs(1), queue.next()).await;
        assert!(other.is_err(), "a running key is not handed out");
        queue.done(&1);
        assert_eq!(queue.next().await, 1);
        queue.done(&1);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_until_forgotten_and_the_earliest_counts() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        for expected_ms in [5, 10, 20] {
            let before = start.elapsed();
            queue.add_after_failure("k");
            assert_eq!(queue.next().await, "k");
            queue.done(&"k");
            assert_eq!((start.elapsed() - before).as_millis(), expected_ms);
        }
        queue.forget(&"k");
        assert_eq!(queue.failures(&"k"), 0);
        queue.add_after("k", Duration::from_secs(9));
        queue.add_after("k", Duration::from_secs(1));
        queue.add_after("k", Duration::from_secs(5));
        let before = Instant::now();
        queue.next().await;
        assert_eq!(before.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reconcile_that_panics_or_fails_is_tried_again() {
        let scope = task::Scope::new();
        let queue = WorkQueue::new();
        let tries = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let finished = Arc::new(Notify::new());
        let (counter, signal) = (Arc::clone(&tries), Arc::clone(&finished));
        run_workers(&scope, "test", 1, &queue, move |_key: u8| {
            let (counter, signal) = (Arc::clone(&counter), Arc::clone(&signal));
            async move {
                match counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                    0 => Err("first"),
                    1 => panic!("second"),
                    _ => {
                        signal.notify_one();
                        Ok(Outcome::Done)
                    }
                }
            }
        });
        queue.add(1);
        finished.notified().await;
        assert!(scope.finish(Duration::from_secs(1)).await);
        assert_eq!(tries.load(std::sync::atomic::Ordering::SeqCst), 3);
    }
}
