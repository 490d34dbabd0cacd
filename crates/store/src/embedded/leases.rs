//! The table of leases: who holds on until when, and which keys hang on each. Pure; time is handed in.
//!
//! Keep-alives stay in memory, so that they cost no write; after a restart every lease starts its time
//! afresh, as in etcd.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use crate::{Event, KeyValue, LeaseId, StoreError};

#[derive(Debug)]
struct Lease {
    ttl_seconds: u64,
    expires_ms: i64,
    keys: HashSet<Bytes>,
}

/// All leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    leases: HashMap<i64, Lease>,
    expiries: BTreeSet<(i64, i64)>,
    newest_id: i64,
}

impl Leases {
    /// The next free id: ids are never used twice, also across restarts, as long as time goes forward.
    pub(super) fn next_id(&self, now_ms: i64) -> i64 {
        // Milliseconds leave room for thousands of leases in each before the clock is overtaken.
        self.newest_id.max(now_ms.saturating_mul(1 << 12)).max(0) + 1
    }

    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id.0)
    }

    pub(super) fn insert(&mut self, id: i64, ttl_seconds: u64, now_ms: i64) {
        let expires_ms = expiry(now_ms, ttl_seconds);
        self.newest_id = self.newest_id.max(id);
        self.expiries.insert((expires_ms, id));
        self.leases.insert(id, Lease { ttl_seconds, expires_ms, keys: HashSet::new() });
    }

    /// Starts the time of a lease afresh; answers its time to live in seconds.
    pub(super) fn keep_alive(&mut self, id: LeaseId, now_ms: i64) -> Result<u64, StoreError> {
        let lease = self.leases.get_mut(&id.0).ok_or(StoreError::LeaseNotFound(id))?;
        if lease.expires_ms <= now_ms {
            return Err(StoreError::LeaseNotFound(id));
        }
        self.expiries.remove(&(lease.expires_ms, id.0));
        lease.expires_ms = expiry(now_ms, lease.ttl_seconds);
        self.expiries.insert((lease.expires_ms, id.0));
        Ok(lease.ttl_seconds)
    }

    /// How long a lease lasts when it is kept alive.
    pub(super) fn ttl_seconds(&self, id: LeaseId) -> Option<u64> {
        self.leases.get(&id.0).map(|lease| lease.ttl_seconds)
    }

    /// Takes a lease off the table.
    pub(super) fn remove(&mut self, id: i64) {
        if let Some(lease) = self.leases.remove(&id) {
            self.expiries.remove(&(lease.expires_ms, id));
        }
    }

    /// The keys that hang on a lease, in order.
    pub(super) fn keys(&self, id: i64) -> Vec<Bytes> {
        let keys = self.leases.get(&id).map(|lease| &lease.keys);
        let mut keys: Vec<_> = keys.into_iter().flatten().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// The first lease that has ended by `now_ms`.
    pub(super) fn expired(&self, now_ms: i64) -> Option<i64> {
        self.expiries.first().filter(|(expires_ms, _)| *expires_ms <= now_ms).map(|(_, id)| *id)
    }

    /// When the first lease ends.
    pub(super) fn next_expiry_ms(&self) -> Option<i64> {
        self.expiries.first().map(|(expires_ms, _)| *expires_ms)
    }

    /// Id and time to live of every lease.
    pub(super) fn persistent(&self) -> Vec<(i64, u64)> {
        self.leases.iter().map(|(id, lease)| (*id, lease.ttl_seconds)).collect()
    }

    /// Hangs keys on leases and takes them off, as a committed event says.
    pub(super) fn follow(&mut self, event: &Event) {
        if let Some(lease) = event.previous().and_then(|previous| previous.lease) {
            self.detach(lease, event.key());
        }
        if let Event::Put { current, .. } = event {
            self.attach(current);
        }
    }

    /// Hangs a key on its lease.
    pub(super) fn attach(&mut self, current: &KeyValue) {
        let lease = current.lease.and_then(|lease| self.leases.get_mut(&lease.0));
        if let Some(lease) = lease {
            // Its own copy: the key shares the memory of one version, of which there may be many.
            lease.keys.insert(Bytes::copy_from_slice(&current.key));
        }
    }

    fn detach(&mut self, lease: LeaseId, key: &Bytes) {
        if let Some(lease) = self.leases.get_mut(&lease.0) {
            lease.keys.remove(key);
        }
    }
}

fn expiry(now_ms: i64, ttl_seconds: u64) -> i64 {
    let ttl_ms = i64::try_from(ttl_seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
    now_ms.saturating_add(ttl_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_unless_it_is_kept_alive() {
        let mut leases = Leases::default();
        leases.insert(1, 10, 0);
        leases.insert(2, 20, 0);
        assert_eq!(leases.expired(9_999), None);
        assert_eq!(leases.keep_alive(LeaseId(1), 9_999).unwrap(), 10);
        assert_eq!(leases.expired(10_000), None);
        assert_eq!(leases.expired(19_999), Some(1));
        assert!(leases.keep_alive(LeaseId(1), 19_999).is_err(), "an ended lease stays ended");
        leases.remove(1);
        assert_eq!(leases.next_expiry_ms(), Some(20_000));
    }

    #[test]
    fn ids_grow_with_time_and_with_use() {
        let mut leases = Leases::default();
        let first = leases.next_id(1_000);
        leases.insert(first, 10, 0);
        assert!(leases.next_id(0) > first);
        assert!(leases.next_id(2_000) > leases.next_id(1_000));
    }
}
