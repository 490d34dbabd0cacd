//! How new the store is: the cluster's newest revision, and the certainty that all up to it has been seen.
//!
//! A revision may belong to a key that is not ours, so waiting for a change of ours could take for ever.
//! etcd's own answer to a request for progress may overtake changes (before 3.4.25 and 3.5.8). The store
//! writes a mark of its own instead, when a change is not there in a moment: once the mark has come by,
//! so has everything before it. All who wait at the same time share one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use clock::Clock;
use parking_lot::Mutex as Lock;
use tokio::sync::{Mutex, Notify};

use super::convert::header;
use super::feed::Feed;
use super::keys::Keys;
use super::members::{Members, Repeat};
use super::wire;
use crate::limits::{ETCD_BACKOFF, ETCD_EVENT_MAX, ETCD_MARK_MAX, PROGRESS_WAITING_MAX};
use crate::{Revision, StoreError};

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const MARK: &str = "mark";

/// Makes a watcher deliver a mark of progress.
type Tell = Box<dyn Fn() + Send + Sync>;

/// See the module's documentation.
pub(super) struct Freshness {
    members: Arc<Members>,
    feed: Arc<Feed>,
    note: Bytes,
    clock: Clock,
    /// Questions that have been asked for the newest revision.
    asked: AtomicU64,
    /// How many of them the last answer is good for, and the answer.
    answered: Mutex<(u64, Revision)>,
    waiting: Lock<Vec<(Arc<AtomicBool>, Arc<Tell>)>>,
    wanted: Notify,
}

impl std::fmt::Debug for Freshness {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Freshness").finish_non_exhaustive()
    }
}

impl Freshness {
    pub(super) fn new(members: Arc<Members>, feed: Arc<Feed>, keys: &Keys, clock: Clock) -> Self {
        Self {
            members,
            feed,
            note: keys.note(MARK),
            clock,
            asked: AtomicU64::new(0),
            answered: Mutex::new((0, Revision(0))),
            waiting: Lock::default(),
            wanted: Notify::new(),
        }
    }

    /// The newest revision, by the word of a majority. Those who ask while a question is on its way share
    /// the next one.
    pub(super) async fn newest(&self) -> Result<Revision, StoreError> {
        let mine = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut answered = self.answered.lock().await;
        if answered.0 >= mine {
            return Ok(answered.1);
        }
        let good_for = self.asked.load(Ordering::Acquire);
        let revision = newest_revision(&self.members, &self.note).await?;
        *answered = (good_for, revision);
        Ok(revision)
    }

    /// Resolves when everything up to `revision` has been passed on.
    pub(super) async fn seen(&self, revision: Revision) {
        let mut fed = self.feed.fed();
        // The sender lives in the feed, which is ours.
        let there = tokio::time::timeout(ETCD_EVENT_MAX, fed.wait_for(|fed| *fed >= revision.0));
        if there.await.is_ok() {
            return;
        }
        loop {
            if let Err(error) = self.mark().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "etcd took no mark of progress"
                );
                self.clock.sleep(ETCD_BACKOFF.1).await;
            }
            let there = tokio::time::timeout(ETCD_MARK_MAX, fed.wait_for(|fed| *fed >= revision.0));
            if there.await.is_ok() {
                return;
            }
            self.feed.go_elsewhere();
        }
    }

    /// Writes something that the watch will show; answers its revision.
    pub(super) async fn mark(&self) -> Result<Revision, StoreError> {
        let request = wire::PutRequest { key: self.note.clone(), ..Default::default() };
        let put = self.members.call(PUT, "write a mark", request, Repeat::Harmless);
        let answer: wire::PutResponse = put.await?;
        Ok(header(answer.header.as_ref()))
    }

    /// What a watcher calls to be told how far it is.
    pub(super) fn progress_request(
        self: &Arc<Self>,
        tell: impl Fn() + Send + Sync + 'static,
    ) -> impl Fn() + Send + Sync + 'static {
        let (this, is_waiting) = (Arc::clone(self), Arc::new(AtomicBool::new(false)));
        let tell: Arc<Tell> = Arc::new(Box::new(tell));
        move || {
            if is_waiting.swap(true, Ordering::AcqRel) {
                return;
            }
            let mut waiting = this.waiting.lock();
            if waiting.len() < PROGRESS_WAITING_MAX {
                waiting.push((Arc::clone(&is_waiting), Arc::clone(&tell)));
            }
            this.wanted.notify_one();
        }
    }

    /// Answers those who want to know how far they are, for ever.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            self.wanted.notified().await;
            let waiting = std::mem::take(&mut *self.waiting.lock());
            // Who asks from here on wants to know of a later moment.
            waiting.iter().for_each(|(is_waiting, _)| is_waiting.store(false, Ordering::Release));
            let newest = loop {
                match self.newest().await {
                    Ok(newest) => break newest,
                    Err(_) => self.clock.sleep(ETCD_BACKOFF.1).await,
                }
            };
            self.seen(newest).await;
            waiting.iter().for_each(|(_, tell)| tell());
        }
    }
}

/// Asks for the newest revision.
pub(super) async fn newest_revision(
    members: &Members,
    note: &Bytes,
) -> Result<Revision, StoreError> {
    let request = wire::RangeRequest { key: note.clone(), count_only: true, ..Default::default() };
    let asking = members.call(RANGE, "read the newest revision", request, Repeat::Harmless);
    let answer: wire::RangeResponse = asking.await?;
    Ok(header(answer.header.as_ref()))
}
