//! Which objects changed, each at most once: the loop reads their newest state from the informers.
//!
//! Bounded by the number of distinct objects.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The kinds that the scheduler watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Watched {
    Pod,
    Node,
    Claim,
    Volume,
    Class,
    CsiNode,
    CsiDriver,
    Capacity,
    Attachment,
    Namespace,
    Service,
    ReplicaSet,
    StatefulSet,
    ReplicationController,
    Budget,
}

/// An object that changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Changed {
    pub(crate) kind: Watched,
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
}

#[derive(Debug, Default)]
struct Keys {
    order: VecDeque<Changed>,
    known: HashSet<Changed>,
}

/// The changes that the loop has not seen yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    keys: Mutex<Keys>,
    wake: Notify,
}

impl Inbox {
    /// Notes a change.
    pub(crate) fn add(&self, changed: Changed) {
        let mut keys = self.keys.lock();
        if keys.known.insert(changed.clone()) {
            keys.order.push_back(changed);
            drop(keys);
            self.wake.notify_one();
        }
    }

    /// The oldest changes, up to `limit`.
    pub(crate) fn take(&self, limit: usize) -> Vec<Changed> {
        let mut keys = self.keys.lock();
        let count = keys.order.len().min(limit);
        let taken: Vec<Changed> = keys.order.drain(..count).collect();
        for changed in &taken {
            keys.known.remove(changed);
        }
        taken
    }

    /// Whether there is nothing to see.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.lock().order.is_empty()
    }

    /// Resolves when something was added since the last call.
    pub(crate) async fn changed(&self) {
        self.wake.notified().await;
    }
}
