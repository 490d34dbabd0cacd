//! Tests of the embedded store that look behind its public face: crashes, damage, failing disks.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{EmbeddedOptions, EmbeddedStore};
use crate::{
    KeyRange, Operation, RangeRequest, Revision, Store, StoreError, Transaction, TransactionResult,
};

mod crash;
mod damage;
mod failing_disk;

/// A directory in memory where there is one: these tests open many stores, and no power is cut.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        return tempfile::tempdir_in(memory).unwrap();
    }
    tempfile::tempdir().unwrap()
}

async fn open(path: &Path) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(EmbeddedOptions::new(path)).await
}

fn put(key: &str, value: &[u8]) -> Transaction {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_vec()));
    Transaction { compares: vec![], operations: vec![Operation::Put { key, value, lease: None }] }
}

async fn commit(store: &EmbeddedStore, transaction: Transaction) -> Result<u64, StoreError> {
    match store.transact(transaction).await? {
        TransactionResult::Committed { revision } => Ok(revision.0),
        conflict => panic!("{conflict:?}"),
    }
}

/// Every key and value, newest or as of a revision.
async fn everything(store: &EmbeddedStore, revision: u64) -> Vec<(Bytes, Bytes)> {
    let request = RangeRequest { range: KeyRange::all(), revision: Revision(revision), limit: 0 };
    let found = store.range(request).await.unwrap();
    found.items.into_iter().map(|item| (item.key, item.value)).collect()
}

/// The one journal of a small store.
fn journal(path: &Path) -> PathBuf {
    let mut journals = super::journal_check::journals(&path.join("data")).unwrap();
    assert_eq!(journals.len(), 1);
    journals.remove(0)
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
