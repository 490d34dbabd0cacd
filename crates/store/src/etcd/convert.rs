//! Between the store's words and etcd's messages. Pure.

use bytes::Bytes;

use super::keys::Keys;
use super::wire;
use crate::commit::Commit;
use crate::{
    Event, KeyValue, LeaseId, Operation, Revision, StoreError, Transaction, TransactionResult,
};

/// A revision as etcd sends it; it is never negative.
pub(super) fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or_default())
}

/// A revision as etcd takes it.
pub(super) fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// The revision in a header, which every answer has.
pub(super) fn header(header: Option<&wire::Header>) -> Revision {
    revision(header.map_or(0, |header| header.revision))
}

/// A key of the store with its value; `None` for a key that is not the store's.
pub(super) fn key_value(keys: &Keys, found: wire::KeyValue) -> Option<KeyValue> {
    Some(KeyValue {
        key: keys.inside(&found.key)?,
        value: found.value.into(),
        create_revision: revision(found.create_revision),
        mod_revision: revision(found.mod_revision),
        version: u64::try_from(found.version).unwrap_or_default(),
        lease: (found.lease != 0).then_some(LeaseId(found.lease)),
    })
}

fn event(keys: &Keys, event: wire::Event) -> Option<Event> {
    let current = key_value(keys, event.kv?)?;
    let previous = event.prev_kv.and_then(|previous| key_value(keys, previous)).map(Box::new);
    Some(if event.kind == wire::EVENT_DELETE {
        let KeyValue { key, mod_revision, .. } = current;
        Event::Delete { key, mod_revision, previous }
    } else {
        Event::Put { current, previous }
    })
}

/// The revisions of a run of events, oldest first, each with the store's own changes in it.
pub(super) fn commits(keys: &Keys, events: Vec<wire::Event>, after: u64) -> Vec<(u64, Vec<Event>)> {
    let mut commits: Vec<(u64, Vec<Event>)> = Vec::new();
    for found in events {
        let at = revision(found.kv.as_ref().map_or(0, |kv| kv.mod_revision)).0;
        if at <= after {
            continue;
        }
        if commits.last().is_none_or(|(last, _)| *last != at) {
            commits.push((at, Vec::new()));
        }
        if let Some((_, changes)) = commits.last_mut() {
            changes.extend(event(keys, found));
        }
    }
    commits
}

/// A commit for the watchers; `None` when nothing of it is the store's.
pub(super) fn commit(revision: u64, events: Vec<Event>) -> Option<Commit> {
    // The time is for compaction, which etcd does by itself.
    (!events.is_empty()).then(|| Commit::new(revision, 0, events))
}

/// A transaction as etcd takes it.
pub(super) fn transaction(
    keys: &Keys,
    transaction: Transaction,
) -> Result<wire::TxnRequest, StoreError> {
    let outside = |key: &Bytes| {
        keys.outside(key).ok_or_else(|| StoreError::InvalidTransaction {
            reason: format!("key {key:?} is not below the root of the store"),
        })
    };
    let mut request = wire::TxnRequest::default();
    for compare in transaction.compares {
        let key = outside(&compare.key)?;
        let read = wire::RangeRequest { key: key.clone(), ..Default::default() };
        request.failure.push(wire::RequestOp { request: Some(wire::Request::Range(read)) });
        let mod_revision = Some(number(compare.mod_revision));
        request.compare.push(wire::Compare { target: wire::COMPARE_MOD, key, mod_revision });
    }
    for operation in transaction.operations {
        let operation = match operation {
            Operation::Put { key, value, lease } => {
                let lease = lease.map_or(0, |lease| lease.0);
                wire::Request::Put(wire::PutRequest { key: outside(&key)?, value, lease })
            }
            Operation::Delete { key } => {
                wire::Request::DeleteRange(wire::DeleteRangeRequest { key: outside(&key)? })
            }
        };
        request.success.push(wire::RequestOp { request: Some(operation) });
    }
    Ok(request)
}

/// What became of a transaction.
pub(super) fn result(keys: &Keys, response: wire::TxnResponse) -> TransactionResult {
    let revision = header(response.header.as_ref());
    if response.succeeded {
        return TransactionResult::Committed { revision };
    }
    let present = response.responses.into_iter().map(|response| {
        let found = response.range?.kvs.into_iter().next()?;
        key_value(keys, found)
    });
    TransactionResult::Conflict { revision, present: present.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, at: i64) -> wire::Event {
        let kv = wire::KeyValue { key: key.into(), mod_revision: at, ..Default::default() };
        wire::Event { kind: 0, kv: Some(kv), prev_kv: None }
    }

    #[test]
    fn events_are_gathered_by_revision_once() {
        let keys = Keys::new(&"/t/".into(), &Bytes::new());
        let events =
            vec![put("/t/a", 4), put("/t/b", 5), put("/t/c", 5), put("/t.keelson/barrier", 6)];
        let found = commits(&keys, events, 4);
        let shown: Vec<_> = found
            .iter()
            .map(|(revision, events)| {
                let keys = events.iter().map(|event| event.key().clone()).collect::<Vec<_>>();
                (*revision, keys)
            })
            .collect();
        assert_eq!(shown, [(5, vec!["b".into(), "c".into()]), (6, vec![])]);
        assert!(commit(6, Vec::new()).is_none());
    }
}
