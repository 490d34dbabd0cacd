//! The writer thread: gathers waiting requests into groups for the committer.
//!
//! A thread and not a task, because it waits for the disk. A store without a disk has none: its
//! committer runs inline, so that simulated time never has to wait for a thread.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::committer::{Committer, Reply, Waiting};
use crate::limits::{GROUP_BYTES_MAX, GROUP_TRANSACTIONS_MAX, REQUESTS_WAITING_MAX};
use crate::validate::size;
use crate::{LeaseId, Revision, StoreError};

/// One thing asked of the writer.
#[derive(Debug)]
pub(super) enum Request {
    Transact(Waiting),
    Compact {
        revision: Revision,
        reply: Reply<()>,
    },
    Grant {
        ttl_seconds: u64,
        reply: Reply<LeaseId>,
    },
    KeepAlive {
        lease: LeaseId,
        reply: Reply<u64>,
    },
    LeaseTtl {
        lease: LeaseId,
        reply: Reply<u64>,
    },
    Revoke {
        lease: LeaseId,
        reply: Reply<()>,
    },
    /// Time has passed: end leases, compact.
    Tick,
}

/// A request and the time at which it was made, in milliseconds since 1970.
type Timed = (Request, i64);

/// The way to the committer.
pub(super) enum Writer {
    /// Requests go to a thread.
    Thread { requests: Mutex<Option<mpsc::Sender<Timed>>>, thread: Mutex<Option<JoinHandle<()>>> },
    /// Requests run where they are made.
    Inline(Mutex<Option<Committer>>),
}

impl Writer {
    /// Starts the thread.
    pub(super) fn spawn(committer: Committer) -> Result<Self, StoreError> {
        let (requests, receiver) = mpsc::channel(REQUESTS_WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(committer, receiver))
            .map_err(|source| StoreError::engine("start the writer thread", source))?;
        let (requests, thread) = (Mutex::new(Some(requests)), Mutex::new(Some(thread)));
        Ok(Self::Thread { requests, thread })
    }

    /// Has no thread.
    pub(super) fn inline(committer: Committer) -> Self {
        Self::Inline(Mutex::new(Some(committer)))
    }

    /// Hands in what `request` makes of a reply, and waits for the answer.
    pub(super) async fn ask<T>(
        self: &Arc<Self>,
        now_ms: i64,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(request(reply), now_ms).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Hands in a request.
    pub(super) async fn send(&self, request: Request, now_ms: i64) -> Result<(), StoreError> {
        match self {
            Self::Thread { requests, .. } => {
                let sender = requests.lock().clone().ok_or(StoreError::Closed)?;
                sender.send((request, now_ms)).await.map_err(|_| StoreError::Closed)
            }
            Self::Inline(committer) => {
                let mut committer = committer.lock();
                let committer = committer.as_mut().ok_or(StoreError::Closed)?;
                match request {
                    Request::Transact(waiting) => committer.commit(vec![waiting], now_ms),
                    other => serve(committer, other, now_ms),
                }
                while committer.tidy(now_ms, true) {}
                Ok(())
            }
        }
    }

    /// Takes no more requests; on return all that were taken are answered and the disk is released.
    pub(super) fn close(&self) {
        match self {
            Self::Thread { requests, thread } => {
                drop(requests.lock().take());
                let thread = thread.lock().take();
                if thread.is_some_and(|thread| thread.join().is_err()) {
                    tracing::error!("the writer thread panicked");
                }
            }
            Self::Inline(committer) => drop(committer.lock().take()),
        }
    }
}

fn run(mut committer: Committer, mut requests: mpsc::Receiver<Timed>) {
    let mut left_over = None;
    let mut busy = true;
    let mut now_ms = i64::MIN;
    loop {
        let next = match left_over.take() {
            Some(request) => Some(request),
            None if busy => requests.try_recv().ok(),
            None => match requests.blocking_recv() {
                Some(request) => Some(request),
                None => return,
            },
        };
        let idle = next.is_none();
        if let Some((request, asked_ms)) = next {
            now_ms = asked_ms;
            left_over = serve_group(&mut committer, request, now_ms, &mut requests);
        } else if requests.is_closed() && requests.is_empty() {
            return;
        }
        let more = committer.tidy(now_ms, idle);
        // One idle round follows every busy one, so that garbage does not wait for the next write.
        busy = more || !idle;
    }
}

/// Serves `request` together with all transactions that wait behind it; answers the request at which
/// the group had to end.
fn serve_group(
    committer: &mut Committer,
    request: Request,
    now_ms: i64,
    requests: &mut mpsc::Receiver<Timed>,
) -> Option<Timed> {
    let first = match request {
        Request::Transact(waiting) => waiting,
        other => {
            serve(committer, other, now_ms);
            return None;
        }
    };
    let mut bytes = size(&first.transaction);
    let mut group = vec![first];
    let mut left_over = None;
    while group.len() < GROUP_TRANSACTIONS_MAX && bytes < GROUP_BYTES_MAX {
        match requests.try_recv() {
            Ok((Request::Transact(waiting), _)) => {
                bytes += size(&waiting.transaction);
                group.push(waiting);
            }
            Ok(other) => {
                left_over = Some(other);
                break;
            }
            Err(_) => break,
        }
    }
    committer.commit(group, now_ms);
    left_over
}

fn serve(committer: &mut Committer, request: Request, now_ms: i64) {
    // Callers may have given up on any of these; what was done stands all the same.
    match request {
        Request::Transact(waiting) => committer.commit(vec![waiting], now_ms),
        Request::Compact { revision, reply } => {
            let _gone = reply.send(committer.compact(revision, now_ms));
        }
        Request::Grant { ttl_seconds, reply } => {
            let _gone = reply.send(committer.grant(ttl_seconds, now_ms));
        }
        Request::KeepAlive { lease, reply } => {
            let _gone = reply.send(committer.keep_alive(lease, now_ms));
        }
        Request::LeaseTtl { lease, reply } => {
            let _gone = reply.send(committer.lease_ttl(lease));
        }
        Request::Revoke { lease, reply } => {
            let _gone = reply.send(committer.revoke(lease, now_ms));
        }
        Request::Tick => committer.expire_leases(now_ms),
    }
}
