//! The words of the store: keys, values, revisions, transactions, events. No behaviour beyond ranges.

use std::sync::Arc;

use bytes::Bytes;

/// A global revision; 0 means "none" (a key that does not exist) or "newest" where a read takes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl std::fmt::Display for Revision {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A lease id, never 0; `None` where a key has no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// One key with its value as of some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, shared with the store.
    pub key: Bytes,
    /// The value, shared with the store.
    pub value: Bytes,
    /// The revision that created the key (again, after a deletion).
    pub create_revision: Revision,
    /// The revision of this value.
    pub mod_revision: Revision,
    /// Number of writes since creation, from 1.
    pub version: u64,
    /// The lease whose end deletes the key.
    pub lease: Option<LeaseId>,
}

/// A half-open key range `[start, end)`; an empty `end` means the single key `start`, and the end
/// `"\0"` means no upper bound, both as in etcd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The first key of the range.
    pub start: Bytes,
    /// The first key after the range.
    pub end: Bytes,
}

/// The `end` of a range without an upper bound.
const UNBOUNDED: &[u8] = b"\0";

impl KeyRange {
    /// The one key `key`.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { start: key.into(), end: Bytes::new() }
    }

    /// Every key that begins with `prefix`; all keys when it is empty.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let mut end = start.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return Self { start, end: end.into() };
            }
        }
        Self { start, end: Bytes::from_static(UNBOUNDED) }
    }

    /// Every key.
    pub fn all() -> Self {
        Self::prefix(Bytes::new())
    }

    /// Whether this is the range of a single key.
    pub fn is_single_key(&self) -> bool {
        self.end.is_empty()
    }

    /// The exclusive upper bound, where there is one. Not for single keys.
    pub(crate) fn upper_bound(&self) -> Option<&[u8]> {
        (self.end.as_ref() != UNBOUNDED).then_some(&self.end)
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        if self.is_single_key() {
            return key == self.start;
        }
        key >= self.start.as_ref() && self.upper_bound().is_none_or(|end| key < end)
    }
}

/// What a transaction requires of one key before it may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key that is looked at.
    pub key: Bytes,
    /// The key's modification revision must be exactly this; 0 requires that it does not exist.
    pub mod_revision: Revision,
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writes `key`, replacing value and lease.
    Put {
        /// The key to write.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// The lease that the key hangs on from now on.
        lease: Option<LeaseId>,
    },
    /// Removes `key`; nothing happens when it does not exist.
    Delete {
        /// The key to remove.
        key: Bytes,
    },
}

impl Operation {
    /// The key that is written.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// If all comparisons hold, all operations happen at one new revision; else nothing happens. A key may
/// be written only once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// What is done then.
    pub operations: Vec<Operation>,
}

/// The outcome of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionResult {
    /// The transaction is durable at `revision`; one that changed nothing answers the newest revision.
    Committed {
        /// The revision of all changes.
        revision: Revision,
    },
    /// A comparison failed; the present state of the compared keys, in order, as of `revision`.
    Conflict {
        /// The newest revision.
        revision: Revision,
        /// One entry for each comparison.
        present: Vec<Option<KeyValue>>,
    },
}

/// A read of a range at one revision.
#[derive(Clone, Debug)]
pub struct RangeRequest {
    /// The keys to read.
    pub range: KeyRange,
    /// 0 for the newest.
    pub revision: Revision,
    /// 0 for no limit.
    pub limit: usize,
}

/// The answer to a [`RangeRequest`].
#[derive(Clone, Debug)]
pub struct RangeResponse {
    /// The store's revision at the time of the read (not the one read at).
    pub revision: Revision,
    /// What was found, in key order.
    pub items: Vec<KeyValue>,
    /// Keys of the range beyond `limit`.
    pub remaining: usize,
}

/// One change. `previous` is the value replaced or deleted, where one existed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key was written.
    Put {
        /// The key as it is now.
        current: KeyValue,
        /// The key as it was; apart, because most keys are written for the first time.
        previous: Option<Box<KeyValue>>,
    },
    /// A key was deleted.
    Delete {
        /// The key.
        key: Bytes,
        /// The revision of the deletion.
        mod_revision: Revision,
        /// The key as it was; known while the history before the deletion is kept.
        previous: Option<Box<KeyValue>>,
    },
}

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put { current, .. } => &current.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// The key as it was before the change.
    pub fn previous(&self) -> Option<&KeyValue> {
        match self {
            Self::Put { previous, .. } | Self::Delete { previous, .. } => previous.as_deref(),
        }
    }
}

/// All changes of one revision that fall into a watched range, or a bare progress mark when `events` is
/// empty: everything up to and including `revision` has been delivered.
#[derive(Clone, Debug)]
pub struct EventBatch {
    /// The revision of the changes.
    pub revision: Revision,
    /// The changes, shared by all watchers of the range.
    pub events: Arc<[Event]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_prefix_begins() {
        for (prefix, end) in
            [(&b"a/"[..], &b"a0"[..]), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0")]
        {
            assert_eq!(KeyRange::prefix(prefix).end.as_ref(), end, "{prefix:?}");
        }
    }

    #[test]
    fn contains_follows_the_three_kinds_of_range() {
        let range = KeyRange::prefix(&b"a/"[..]);
        assert!(range.contains(b"a/") && range.contains(b"a/\xff"));
        assert!(!range.contains(b"a") && !range.contains(b"a0"));
        assert!(KeyRange::key(&b"k"[..]).contains(b"k"));
        assert!(!KeyRange::key(&b"k"[..]).contains(b"k0"));
        assert!(KeyRange::all().contains(b"\xff\xff"));
    }
}
