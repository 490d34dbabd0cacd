//! The one watch that a store keeps on its cluster, and the way from there to all its own watchers.
//!
//! Every change is passed on once, in order, whichever member it comes from: after any failure the watch
//! is opened again behind the last revision that was passed on. Only when etcd has compacted that away, all
//! watchers are cut off, as those of the embedded store are that were too slow.

use std::sync::Arc;

use clock::Clock;
use tokio::sync::{Notify, watch};
use tonic::Streaming;

use super::convert::{commit, commits, header, number, revision};
use super::keys::Keys;
use super::members::Members;
use super::wire;
use crate::commit::Commit;
use crate::fanout::Fanout;
use crate::limits::ETCD_BACKOFF;
use crate::{KeyRange, Revision, StoreError};

const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Feed {
    members: Arc<Members>,
    keys: Keys,
    fanout: Arc<Fanout>,
    clock: Clock,
    /// Everything up to here has been passed on.
    fed: watch::Sender<u64>,
    /// Tells the watch to go to another member.
    elsewhere: Notify,
}

/// What came of a watch.
pub(super) enum Ended {
    /// The history that was asked for is gone.
    Compacted(u64),
    Failed(StoreError),
}

impl Feed {
    /// A feed that goes on behind `revision`.
    pub(super) fn new(
        members: Arc<Members>,
        keys: Keys,
        fanout: Arc<Fanout>,
        clock: Clock,
        revision: Revision,
    ) -> Self {
        let fed = watch::Sender::new(revision.0);
        Self { members, keys, fanout, clock, fed, elsewhere: Notify::new() }
    }

    /// Follows the cluster, for ever.
    pub(super) async fn run(self: Arc<Self>) {
        let mut pause = ETCD_BACKOFF.0;
        loop {
            let before = *self.fed.borrow();
            match self.follow().await {
                Ended::Compacted(oldest) => {
                    tracing::warn!(before, oldest, "etcd has compacted what had not been seen yet");
                    // Behind everything that was missed; whoever watches has to list again.
                    self.fanout.break_off(oldest);
                    self.fed.send_replace(oldest);
                }
                Ended::Failed(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        after = *self.fed.borrow(),
                        "the watch of etcd ended"
                    );
                }
            }
            if *self.fed.borrow() > before {
                pause = ETCD_BACKOFF.0;
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(ETCD_BACKOFF.1);
        }
    }

    async fn follow(&self) -> Ended {
        let after = *self.fed.borrow();
        let opened = Following::open(&self.members, &self.keys.watched(), after).await;
        let mut following = match opened {
            Ok(following) => following,
            Err(error) => return Ended::Failed(error),
        };
        loop {
            let next = tokio::select! {
                next = following.next(&self.keys) => next,
                () = self.elsewhere.notified() => {
                    let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
                    following.leave();
                    return Ended::Failed(StoreError::engine("bring changes in time", error));
                }
            };
            match next {
                Ok(news) => self.pass_on(news),
                Err(ended) => {
                    following.leave();
                    return ended;
                }
            }
        }
    }

    fn pass_on(&self, news: News) {
        self.fanout.publish(&news.commits);
        self.fanout.advance(news.through);
        self.fed.send_if_modified(|fed| {
            let is_news = news.through > *fed;
            *fed = news.through.max(*fed);
            is_news
        });
    }

    /// Says up to where everything has been passed on, as that changes.
    pub(super) fn fed(&self) -> watch::Receiver<u64> {
        self.fed.subscribe()
    }

    /// Turns to another member, because this one is silent.
    pub(super) fn go_elsewhere(&self) {
        self.elsewhere.notify_one();
    }
}

/// What one answer brought.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) commits: Vec<Commit>,
    /// Nothing else is to come up to here.
    pub(super) through: u64,
}

/// A watch of one member.
pub(super) struct Following {
    members: Arc<Members>,
    stream: Streaming<wire::WatchResponse>,
    at: usize,
    after: u64,
    /// Events of an answer that is not complete yet.
    fragments: Vec<wire::Event>,
}

impl Following {
    /// Watches `range`, which is one of etcd's, behind the revision `after`.
    pub(super) async fn open(
        members: &Arc<Members>,
        range: &KeyRange,
        after: u64,
    ) -> Result<Self, StoreError> {
        let create = wire::WatchCreateRequest {
            key: range.start.clone(),
            range_end: range.end.clone(),
            start_revision: number(Revision(after.saturating_add(1))),
            progress_notify: true,
            prev_kv: true,
            fragment: true,
        };
        let request = wire::WatchRequest { create: Some(create) };
        let (stream, at) = members.stream(WATCH, request).await?;
        Ok(Self { members: Arc::clone(members), stream, at, after, fragments: Vec::new() })
    }

    /// Turns away from the member.
    pub(super) fn leave(&self) {
        self.members.leave(self.at);
    }

    /// The next changes. Safe to drop while it waits.
    pub(super) async fn next(&mut self, keys: &Keys) -> Result<News, Ended> {
        loop {
            let answer = match self.stream.message().await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Err(Ended::Failed(StoreError::Closed)),
                Err(status) => {
                    let error = self.members.settle(self.at, status, "watch");
                    return Err(Ended::Failed(error));
                }
            };
            if answer.canceled {
                return Err(cancelled(&answer));
            }
            let is_progress = answer.events.is_empty() && self.fragments.is_empty();
            if answer.created || (is_progress && answer.fragment) {
                continue;
            }
            if is_progress {
                // Sent only to watchers that have had everything.
                let through = header(answer.header.as_ref()).0.max(self.after);
                self.after = through;
                return Ok(News { commits: Vec::new(), through });
            }
            self.fragments.extend(answer.events);
            if !answer.fragment {
                return Ok(self.gather(keys));
            }
        }
    }

    fn gather(&mut self, keys: &Keys) -> News {
        let found = commits(keys, std::mem::take(&mut self.fragments), self.after);
        self.after = found.last().map_or(self.after, |(revision, _)| *revision);
        let commits = found.into_iter().filter_map(|(revision, events)| commit(revision, events));
        News { commits: commits.collect(), through: self.after }
    }
}

fn cancelled(answer: &wire::WatchResponse) -> Ended {
    if answer.compact_revision > 0 {
        return Ended::Compacted(revision(answer.compact_revision).0);
    }
    let reason = std::io::Error::other(answer.cancel_reason.clone());
    Ended::Failed(StoreError::engine("watch", reason))
}
