//! The disk follows the live data: what was deleted gives its space back.
#![expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use store::embedded::{EmbeddedOptions, EmbeddedStore};
use store::{Operation, Store, Transaction};

const OBJECTS: usize = 4000;
const OBJECT_BYTES: usize = 64 << 10;
/// One journal, and the slack that tables may have.
const REST_BYTES_MAX: u64 = 160 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_objects_give_their_space_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = EmbeddedOptions::new(directory.path());
    options.fsync = false;
    let store = EmbeddedStore::open(options.clone()).await.unwrap();
    for number in 0..OBJECTS {
        let value = Bytes::from(vec![number as u8; OBJECT_BYTES]);
        commit(&store, Operation::Put { key: key(number), value, lease: None }).await;
    }
    let full = used(directory.path());
    assert!(full > (OBJECTS * OBJECT_BYTES) as u64, "{full} bytes used");
    for number in 1..OBJECTS {
        commit(&store, Operation::Delete { key: key(number) }).await;
    }
    let newest = store.revision().await.unwrap();
    store.compact(newest).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while used(directory.path()) > REST_BYTES_MAX {
        assert!(tokio::time::Instant::now() < deadline, "{} used", used(directory.path()));
        tokio::task::yield_now().await;
    }
    store.close().await;
    let store = EmbeddedStore::open(options).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), newest);
}

fn key(number: usize) -> Bytes {
    format!("{number:05}").into()
}

async fn commit(store: &EmbeddedStore, operation: Operation) {
    store.transact(Transaction { compares: vec![], operations: vec![operation] }).await.unwrap();
}

/// Bytes that the files under `path` occupy; files may come and go meanwhile.
fn used(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => used(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
