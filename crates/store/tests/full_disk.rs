//! A real disk that fills up: writes are refused with a clear error, reads and watches go on, and so do writes
//! when there is room again. Runs on a small memory file system in a mount namespace of its own, so it needs
//! root and `unshare`, and says so when it cannot run.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use store::embedded::{EmbeddedOptions, EmbeddedStore};
use store::{KeyRange, Operation, RangeRequest, Revision, Store, StoreError, Transaction};

const DIRECTORY: &str = "STORE_FULL_DISK_DIRECTORY";
const DISK_BYTES: usize = 48 << 20;

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o size=$SIZE none \"$STORE_FULL_DISK_DIRECTORY\" && exec \"$0\" \"$@\"";
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "inside", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .env("SIZE", DISK_BYTES.to_string())
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) if is_root() => panic!("{status}"),
        _ => eprintln!("not run: this test needs root and unshare"),
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

/// Not a test of its own: the part that runs on the small file system.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs only inside the test of a full disk"]
async fn inside() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    for neighbour_bytes in [DISK_BYTES / 2, DISK_BYTES] {
        let path = directory.join(format!("store-{neighbour_bytes}"));
        fill_and_free(directory, &path, neighbour_bytes).await;
        std::fs::remove_dir_all(&path).unwrap();
    }
}

/// The store and a neighbour, which takes up to `neighbour_bytes`, fill the disk between them.
async fn fill_and_free(directory: &Path, path: &Path, neighbour_bytes: usize) {
    let options = EmbeddedOptions::new(path);
    let store = EmbeddedStore::open(options.clone()).await.unwrap();
    for number in 0..200 {
        put(&store, number).await.unwrap();
    }
    let ballast = directory.join("ballast");
    // It may well be that not all of it fits; that is the point.
    let _filled = std::fs::write(&ballast, vec![1; neighbour_bytes]);
    let mut written = 200;
    let refused = loop {
        match put(&store, written).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < DISK_BYTES / 1024, "the disk never fills up");
    };
    assert!(matches!(refused, StoreError::NoSpace), "{refused:?}");
    assert_eq!(refused.to_string(), "no space left on the device of the store");
    assert_eq!(count(&store).await, written);
    let newest = store.revision().await.unwrap();
    let mut watch = store.watch(KeyRange::all(), Revision(newest.0 - 1)).await.unwrap();
    assert_eq!(next(&mut watch).await.revision, newest, "watches begin and deliver");
    watch.progress_requester().request();
    let mark = next(&mut watch).await;
    assert_eq!((mark.revision, mark.events.len()), (newest, 0), "what was refused is not shown");
    let again = put(&store, written).await;
    assert!(matches!(again, Err(StoreError::NoSpace)), "{again:?}");
    std::fs::remove_file(&ballast).unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while let Err(error) = put(&store, written).await {
        assert!(tokio::time::Instant::now() < deadline, "writing does not resume: {error:?}");
        tokio::task::yield_now().await;
    }
    assert_eq!(count(&store).await, written + 1);
    assert_eq!(next(&mut watch).await.revision, Revision(newest.0 + 1), "the watch goes on");
    store.close().await;
    let store = EmbeddedStore::open(options).await.unwrap();
    assert_eq!(count(&store).await, written + 1, "refused writes did not happen");
    assert_eq!(store.revision().await.unwrap().0, written as u64 + 1);
    store.close().await;
}

async fn next(watch: &mut store::Watch) -> store::EventBatch {
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), watch.next()).await;
    waited.unwrap().unwrap().unwrap()
}

async fn put(store: &EmbeddedStore, number: usize) -> Result<(), StoreError> {
    let (key, value) = (Bytes::from(format!("{number:08}")), Bytes::from(vec![7; 16 << 10]));
    let operations = vec![Operation::Put { key, value, lease: None }];
    store.transact(Transaction { compares: vec![], operations }).await.map(|_| ())
}

async fn count(store: &EmbeddedStore) -> usize {
    let request = RangeRequest { range: KeyRange::all(), revision: Revision(0), limit: 0 };
    store.range(request).await.unwrap().items.len()
}
