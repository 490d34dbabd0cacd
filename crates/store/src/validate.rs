//! What every store asks of a transaction before it looks at any state.

use std::collections::HashSet;

use bytes::Bytes;

use crate::limits::{KEY_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};
use crate::{Operation, StoreError, Transaction};

/// Refuses transactions that no store takes.
pub(crate) fn validate(transaction: &Transaction) -> Result<(), StoreError> {
    let invalid = |reason: String| Err(StoreError::InvalidTransaction { reason });
    let (compares, operations) = (&transaction.compares, &transaction.operations);
    if compares.len().max(operations.len()) > TRANSACTION_OPERATIONS_MAX {
        return invalid(format!("more than {TRANSACTION_OPERATIONS_MAX} operations"));
    }
    let keys = compares.iter().map(|compare| &compare.key);
    for key in keys.chain(operations.iter().map(Operation::key)) {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return invalid(format!("a key of {} bytes", key.len()));
        }
    }
    let size = size(transaction);
    if size > TRANSACTION_BYTES_MAX {
        return invalid(format!("{size} bytes, more than {TRANSACTION_BYTES_MAX}"));
    }
    let mut written: HashSet<&Bytes> = HashSet::new();
    match operations.iter().find(|operation| !written.insert(operation.key())) {
        Some(twice) if operations.len() > 1 => {
            invalid(format!("key {:?} is written twice", twice.key()))
        }
        _ => Ok(()),
    }
}

/// The bytes of keys and values that a transaction writes.
pub(crate) fn size(transaction: &Transaction) -> usize {
    let operation = |operation: &Operation| match operation {
        Operation::Put { key, value, .. } => key.len() + value.len(),
        Operation::Delete { key } => key.len(),
    };
    transaction.operations.iter().map(operation).sum()
}
