//! Transactions of one operation, as tests write them.

use bytes::Bytes;
use store::{Compare, LeaseId, Operation, Revision, Transaction};

pub(crate) fn put(key: &str, value: &str) -> Transaction {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
    Transaction { compares: vec![], operations: vec![Operation::Put { key, value, lease: None }] }
}

pub(crate) fn put_leased(key: &str, lease: LeaseId) -> Transaction {
    let (key, value, lease) = (Bytes::from(key.to_owned()), Bytes::new(), Some(lease));
    Transaction { compares: vec![], operations: vec![Operation::Put { key, value, lease }] }
}

pub(crate) fn delete(key: &str) -> Transaction {
    let key = Bytes::from(key.to_owned());
    Transaction { compares: vec![], operations: vec![Operation::Delete { key }] }
}

pub(crate) fn when(mut transaction: Transaction, key: &str, revision: u64) -> Transaction {
    let key = Bytes::from(key.to_owned());
    transaction.compares.push(Compare { key, mod_revision: Revision(revision) });
    transaction
}
