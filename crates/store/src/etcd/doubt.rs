//! Writes whose first attempt got no answer: which may be tried again, and what became of them.
//!
//! A write that is tied to a revision of a key that it also changes takes place once at most, because no key
//! ever has the same revision again. So it is asked for again, of another member. When that one has committed
//! it, the attempt before cannot any more. When it finds the key changed, the first change behind the tie
//! tells whether somebody else was first. If that change could be the write's own, nothing tells it from
//! somebody else's that is equal: then the outcome stays unknown. A write that only creates keys is not
//! tied: they may be deleted, and an attempt that comes late would create them again.

use std::sync::Arc;

use bytes::Bytes;

use super::feed::Following;
use super::keys::Keys;
use super::members::Members;
use crate::limits::{ETCD_FATE_ATTEMPTS_MAX, ETCD_READ_MAX};
use crate::{Event, KeyRange, Operation, Revision, StoreError, Transaction, TransactionResult};

/// What keeps a transaction from taking place twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tie {
    key: Bytes,
    /// Where the key is among those that are compared.
    at: usize,
    after: Revision,
    /// What the transaction writes; nothing when it deletes.
    value: Option<Bytes>,
}

/// Nothing shows which of two equal writes took place.
#[derive(Debug, thiserror::Error)]
#[error("a member that was asked did not answer, and the key has been changed since")]
struct Ambiguous;

impl Tie {
    /// The tie of a transaction that has one.
    pub(super) fn of(transaction: &Transaction) -> Option<Self> {
        transaction.compares.iter().enumerate().find_map(|(at, compare)| {
            let is_changed = |operation: &&Operation| *operation.key() == compare.key;
            let operation = transaction.operations.iter().find(is_changed)?;
            let value = match operation {
                Operation::Put { value, .. } => Some(value.clone()),
                Operation::Delete { .. } => None,
            };
            let (key, after) = (compare.key.clone(), compare.mod_revision);
            (after > Revision(0)).then_some(Self { key, at, after, value })
        })
    }

    /// What became of the transaction, after a later attempt ended with `result`.
    ///
    /// # Errors
    /// `Uncertain`: it cannot be told.
    pub(super) async fn settle(
        &self,
        members: &Arc<Members>,
        keys: &Keys,
        result: TransactionResult,
    ) -> Result<TransactionResult, StoreError> {
        let TransactionResult::Conflict { present, .. } = &result else { return Ok(result) };
        let now = present.get(self.at).and_then(Option::as_ref).map(|item| item.mod_revision);
        // While the tie holds, an attempt that comes late may still take place.
        let is_torn = now != Some(self.after);
        if is_torn {
            for _ in 0..ETCD_FATE_ATTEMPTS_MAX {
                match self.first_change(members, keys).await {
                    Some(change) if self.is_by_another(&change) => return Ok(result),
                    Some(_) => break,
                    None => {}
                }
            }
        }
        let source = Arc::new(Ambiguous);
        Err(StoreError::Uncertain { attempted: "commit a transaction", source })
    }

    /// Whether a change that tore the tie is certainly not this transaction's.
    fn is_by_another(&self, change: &Event) -> bool {
        match (change, &self.value) {
            (Event::Put { current, .. }, Some(value)) => current.value != value,
            (Event::Delete { .. }, None) => false,
            (Event::Put { .. }, None) | (Event::Delete { .. }, Some(_)) => true,
        }
    }

    /// The change that tore the tie; `None` when the member that was asked does not say.
    async fn first_change(&self, members: &Arc<Members>, keys: &Keys) -> Option<Event> {
        let range = KeyRange::key(keys.outside(&self.key)?);
        let mut following = Following::open(members, &range, self.after.0).await.ok()?;
        let news = tokio::time::timeout(ETCD_READ_MAX, following.next(keys)).await;
        let Ok(Ok(news)) = news else {
            following.leave();
            return None;
        };
        let mut changes = news.commits.iter().flat_map(|commit| commit.events.iter());
        changes.find(|change| *change.key() == self.key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compare, KeyValue};

    fn put(key: &str, value: &str) -> Operation {
        Operation::Put { key: key.to_owned().into(), value: value.to_owned().into(), lease: None }
    }

    fn transaction(compares: &[(&str, u64)], operations: Vec<Operation>) -> Transaction {
        let compare = |(key, revision): &(&str, u64)| Compare {
            key: (*key).to_owned().into(),
            mod_revision: Revision(*revision),
        };
        Transaction { compares: compares.iter().map(compare).collect(), operations }
    }

    #[test]
    fn only_a_changed_key_with_a_revision_ties() {
        let delete = Operation::Delete { key: "a".into() };
        for (transaction, expected) in [
            (transaction(&[], vec![put("a", "1")]), None),
            (transaction(&[("a", 0)], vec![put("a", "1")]), None),
            (transaction(&[("b", 7)], vec![put("a", "1")]), None),
            (
                transaction(&[("b", 0), ("a", 7)], vec![put("b", ""), put("a", "1")]),
                Some((1, true)),
            ),
            (transaction(&[("a", 7)], vec![delete]), Some((0, false))),
        ] {
            let tie = Tie::of(&transaction);
            assert_eq!(tie.map(|tie| (tie.at, tie.value.is_some())), expected, "{transaction:?}");
        }
    }

    #[test]
    fn an_equal_change_may_be_ones_own() {
        let wrote = |value: &str| {
            let current = KeyValue {
                key: "a".into(),
                value: value.to_owned().into(),
                create_revision: Revision(1),
                mod_revision: Revision(8),
                version: 2,
                lease: None,
            };
            Event::Put { current, previous: None }
        };
        let deleted = Event::Delete { key: "a".into(), mod_revision: Revision(8), previous: None };
        let puts = Tie::of(&transaction(&[("a", 7)], vec![put("a", "mine")])).unwrap();
        let delete = vec![Operation::Delete { key: "a".into() }];
        let deletes = Tie::of(&transaction(&[("a", 7)], delete)).unwrap();
        for (tie, change, by_another) in [
            (&puts, wrote("mine"), false),
            (&puts, wrote("theirs"), true),
            (&puts, deleted.clone(), true),
            (&deletes, wrote("theirs"), true),
            (&deletes, deleted, false),
        ] {
            assert_eq!(tie.is_by_another(&change), by_another, "{tie:?} {change:?}");
        }
    }
}
