//! The embedded store through its public face: what each operation promises.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

use std::time::Duration;

use bytes::Bytes;
use clock::Clock;
use store::embedded::{EmbeddedOptions, EmbeddedStore};
use store::{
    Event, KeyRange, Operation, RangeRequest, RangeResponse, Revision, Store, StoreError,
    Transaction, TransactionResult, Watch,
};

#[path = "shared/transactions.rs"]
mod transactions;

use transactions::{delete, put, put_leased, when};

async fn commit(store: &EmbeddedStore, transaction: Transaction) -> u64 {
    match store.transact(transaction).await.unwrap() {
        TransactionResult::Committed { revision } => revision.0,
        conflict => panic!("{conflict:?}"),
    }
}

async fn read(store: &EmbeddedStore, prefix: &str, at: u64, limit: usize) -> RangeResponse {
    let range = KeyRange::prefix(prefix.to_owned());
    store.range(RangeRequest { range, revision: Revision(at), limit }).await.unwrap()
}

fn show(response: &RangeResponse) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    response.items.iter().map(|item| format!("{}={}", text(&item.key), text(&item.value))).collect()
}

async fn next(watch: &mut Watch) -> String {
    let waited = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
    let batch = waited.expect("an event comes").expect("the watch goes on").unwrap();
    let mut shown = format!("{}:", batch.revision);
    for event in batch.events.iter() {
        let key = String::from_utf8(event.key().to_vec()).unwrap();
        match event {
            Event::Put { .. } => shown += &format!(" +{key}"),
            Event::Delete { .. } => shown += &format!(" -{key}"),
        }
    }
    shown
}

async fn open(directory: &tempfile::TempDir) -> EmbeddedStore {
    EmbeddedStore::open(EmbeddedOptions::new(directory.path())).await.unwrap()
}

fn volatile() -> EmbeddedStore {
    EmbeddedStore::volatile(EmbeddedOptions::new(""))
}

#[tokio::test]
async fn what_is_written_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    assert_eq!(commit(&store, put("a", "1")).await, 1);
    assert_eq!(commit(&store, put("b", "1")).await, 2);
    assert_eq!(commit(&store, put("a", "2")).await, 3);
    assert_eq!(commit(&store, delete("b")).await, 4);
    store.close().await;
    let store = open(&directory).await;
    assert_eq!(store.revision().await.unwrap(), Revision(4));
    assert_eq!(show(&read(&store, "", 0, 0).await), ["a=2"]);
    assert_eq!(show(&read(&store, "", 2, 0).await), ["a=1", "b=1"]);
    let item = &read(&store, "a", 0, 0).await.items[0];
    assert_eq!(
        (item.create_revision, item.mod_revision, item.version),
        (Revision(1), Revision(3), 2)
    );
    let mut watch = store.watch(KeyRange::all(), Revision(1)).await.unwrap();
    assert_eq!(next(&mut watch).await, "2: +b");
    assert_eq!(next(&mut watch).await, "3: +a");
    assert_eq!(next(&mut watch).await, "4: -b");
    assert_eq!(commit(&store, put("c", "1")).await, 5);
    assert_eq!(next(&mut watch).await, "5: +c");
}

#[tokio::test]
async fn comparisons_decide() {
    let store = volatile();
    let first = commit(&store, when(put("a", "1"), "a", 0)).await;
    let again = store.transact(when(put("a", "2"), "a", 0)).await.unwrap();
    let TransactionResult::Conflict { revision, present } = again else { panic!("{again:?}") };
    assert_eq!(revision.0, first);
    assert_eq!(present[0].as_ref().unwrap().value, "1");
    let second = commit(&store, when(put("a", "2"), "a", first)).await;
    commit(&store, when(delete("a"), "a", second)).await;
    let gone = store.transact(when(put("a", "3"), "a", second)).await.unwrap();
    assert!(matches!(gone, TransactionResult::Conflict { present, .. } if present == [None]));
    commit(&store, when(put("a", "3"), "a", 0)).await;
    assert_eq!(read(&store, "a", 0, 0).await.items[0].version, 1, "a new life starts at 1");
}

#[tokio::test]
async fn ranges_are_limited_and_counted() {
    let store = volatile();
    for number in 0..5000 {
        commit(&store, put(&format!("k/{number:05}"), "")).await;
    }
    commit(&store, delete("k/04000")).await;
    let page = read(&store, "k/", 0, 10).await;
    assert_eq!((page.items.len(), page.remaining), (10, 4989));
    let page = read(&store, "k/", 3000, 10).await;
    assert_eq!((page.items.len(), page.remaining, page.revision), (10, 2990, Revision(5001)));
    assert_eq!(read(&store, "k/", 0, 0).await.items.len(), 4999);
    let single = KeyRange::key("k/00007");
    let request = RangeRequest { range: single, revision: Revision(0), limit: 0 };
    assert_eq!(store.range(request).await.unwrap().items[0].mod_revision, Revision(8));
}

#[tokio::test]
async fn compaction_ends_old_reads_and_watches() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    for value in ["1", "2", "3"] {
        commit(&store, put("a", value)).await;
    }
    commit(&store, put("b", "1")).await;
    commit(&store, delete("b")).await;
    store.compact(Revision(2)).await.unwrap();
    let old = RangeRequest { range: KeyRange::all(), revision: Revision(1), limit: 0 };
    assert!(matches!(store.range(old).await, Err(StoreError::Compacted { .. })));
    assert_eq!(show(&read(&store, "", 2, 0).await), ["a=2"]);
    let watch = store.watch(KeyRange::all(), Revision(1)).await;
    assert!(matches!(watch, Err(StoreError::Compacted { .. })));
    let mut watch = store.watch(KeyRange::all(), Revision(2)).await.unwrap();
    assert_eq!(next(&mut watch).await, "3: +a");
    assert!(matches!(store.compact(Revision(9)).await, Err(StoreError::FutureRevision { .. })));
    assert!(matches!(store.compact(Revision(2)).await, Err(StoreError::Compacted { .. })));
    store.compact(Revision(5)).await.unwrap();
    drop(watch);
    store.close().await;
    let store = open(&directory).await;
    assert_eq!(store.revision().await.unwrap(), Revision(5), "also when its row is gone");
    assert_eq!(show(&read(&store, "", 5, 0).await), ["a=3"]);
    let watch = store.watch(KeyRange::all(), Revision(4)).await;
    assert!(matches!(watch, Err(StoreError::Compacted { .. })));
}

#[tokio::test]
async fn watches_see_their_range_and_progress() {
    let store = volatile();
    let mut pods = store.watch(KeyRange::prefix("pods/"), Revision(0)).await.unwrap();
    let mut one = store.watch(KeyRange::key("pods/b"), Revision(0)).await.unwrap();
    commit(&store, put("pods/a", "")).await;
    commit(&store, put("nodes/a", "")).await;
    let both = Transaction {
        compares: vec![],
        operations: ["nodes/b", "pods/b", "pods/c"]
            .map(|key| Operation::Put { key: key.into(), value: Bytes::new(), lease: None })
            .into(),
    };
    commit(&store, both).await;
    commit(&store, put("nodes/z", "")).await;
    assert_eq!(next(&mut pods).await, "1: +pods/a");
    assert_eq!(next(&mut pods).await, "3: +pods/b +pods/c");
    assert_eq!(next(&mut one).await, "3: +pods/b");
    pods.progress_requester().request();
    assert_eq!(next(&mut pods).await, "4:");
    let mut late = store.watch(KeyRange::prefix("pods/"), Revision(2)).await.unwrap();
    assert_eq!(next(&mut late).await, "3: +pods/b +pods/c");
    let mut future = store.watch(KeyRange::all(), Revision(5)).await.unwrap();
    commit(&store, put("pods/d", "")).await;
    commit(&store, put("pods/e", "")).await;
    assert_eq!(next(&mut future).await, "6: +pods/e");
    store.close().await;
    assert_eq!(next(&mut pods).await, "5: +pods/d");
    assert_eq!(next(&mut pods).await, "6: +pods/e");
    assert!(matches!(pods.next().await, Some(Err(StoreError::Closed))));
    assert!(pods.next().await.is_none());
}

#[tokio::test]
async fn a_slow_watcher_is_cut_off_and_others_are_not() {
    let store = volatile();
    let mut slow = store.watch(KeyRange::all(), Revision(0)).await.unwrap();
    let mut quick = store.watch(KeyRange::all(), Revision(0)).await.unwrap();
    for number in 1..=store::limits::WATCH_BATCHES_MAX as u64 + 1 {
        commit(&store, put("a", "")).await;
        assert_eq!(next(&mut quick).await, format!("{number}: +a"));
    }
    assert!(matches!(slow.next().await, Some(Err(StoreError::TooSlow))));
    assert!(slow.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_lease_takes_its_keys_with_it() {
    let mut options = EmbeddedOptions::new("");
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
    options.clock = clock.clone();
    let store = EmbeddedStore::volatile(options);
    let lease = store.grant_lease(10).await.unwrap();
    let other = store.grant_lease(3600).await.unwrap();
    for key in ["a", "b", "c"] {
        commit(&store, put_leased(key, lease)).await;
    }
    commit(&store, put_leased("c", other)).await;
    commit(&store, put("d", "")).await;
    clock.sleep(Duration::from_secs(9)).await;
    assert_eq!(store.keep_alive(lease).await.unwrap(), 10);
    let mut watch = store.watch(KeyRange::all(), Revision(5)).await.unwrap();
    assert_eq!(next_patiently(&mut watch).await, "6: -a -b");
    assert_eq!(show(&read(&store, "", 0, 0).await), ["c=", "d="]);
    assert!(matches!(store.keep_alive(lease).await, Err(StoreError::LeaseNotFound(_))));
    let unknown = store.transact(put_leased("x", lease)).await;
    assert!(matches!(unknown, Err(StoreError::LeaseNotFound(_))));
    store.revoke_lease(other).await.unwrap();
    assert_eq!(next_patiently(&mut watch).await, "7: -c");
}

async fn next_patiently(watch: &mut Watch) -> String {
    let batch = watch.next().await.unwrap().unwrap();
    let keys = batch.events.iter().map(|event| String::from_utf8_lossy(event.key()).into_owned());
    format!("{}:{}", batch.revision, keys.map(|key| format!(" -{key}")).collect::<String>())
}

#[tokio::test]
async fn leases_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    let lease = store.grant_lease(3600).await.unwrap();
    let gone = store.grant_lease(3600).await.unwrap();
    commit(&store, put_leased("a", lease)).await;
    store.revoke_lease(gone).await.unwrap();
    store.close().await;
    let store = open(&directory).await;
    assert!(matches!(store.keep_alive(gone).await, Err(StoreError::LeaseNotFound(_))));
    assert_eq!(store.keep_alive(lease).await.unwrap(), 3600);
    store.revoke_lease(lease).await.unwrap();
    assert!(read(&store, "", 0, 0).await.items.is_empty());
}

#[tokio::test]
async fn a_second_opening_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    let second = EmbeddedStore::open(EmbeddedOptions::new(directory.path())).await;
    assert!(matches!(second, Err(StoreError::Locked { .. })), "{second:?}");
    store.close().await;
    open(&directory).await;
}

#[tokio::test]
async fn malformed_transactions_are_refused() {
    let store = volatile();
    let mut twice = put("a", "1");
    twice.operations.extend(put("a", "2").operations);
    let huge = "x".repeat(store::limits::TRANSACTION_BYTES_MAX);
    for bad in [twice, put("", "1"), put("a", &huge), put(&huge, "")] {
        let refused = store.transact(bad).await;
        assert!(matches!(refused, Err(StoreError::InvalidTransaction { .. })));
    }
    assert_eq!(commit(&store, delete("missing")).await, 0, "nothing changed, no revision");
    assert_eq!(store.revision().await.unwrap(), Revision(0));
}

#[tokio::test]
async fn history_is_bounded_by_count() {
    let mut options = EmbeddedOptions::new("");
    options.history_revisions_max = 100;
    let store = EmbeddedStore::volatile(options);
    for number in 0..1000 {
        commit(&store, put("a", &number.to_string())).await;
    }
    let old = RangeRequest { range: KeyRange::all(), revision: Revision(800), limit: 0 };
    assert!(matches!(store.range(old).await, Err(StoreError::Compacted { .. })));
    assert_eq!(show(&read(&store, "", 950, 0).await), ["a=949"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_increments_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    let tasks: Vec<_> = (0..64).map(|_| tokio::spawn(increment(store.clone(), 10))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(show(&read(&store, "", 0, 0).await), ["counter=640"]);
    assert_eq!(store.revision().await.unwrap(), Revision(640));
}

async fn increment(store: EmbeddedStore, times: usize) {
    let mut done = 0;
    while done < times {
        let present = read(&store, "counter", 0, 0).await.items.pop();
        let (value, revision) = present.map_or((0, 0), |item| {
            (std::str::from_utf8(&item.value).unwrap().parse().unwrap(), item.mod_revision.0)
        });
        let next = put("counter", &(value + 1u64).to_string());
        let result = store.transact(when(next, "counter", revision)).await.unwrap();
        done += usize::from(matches!(result, TransactionResult::Committed { .. }));
    }
}

/// Follows a range until `last`, through ends by slowness or compaction never expected here, and checks
/// that each change comes once, in order, with the change before it.
async fn follow(store: EmbeddedStore, range: KeyRange, after: u64, last: u64) -> usize {
    let mut watch = store.watch(range.clone(), Revision(after)).await.unwrap();
    let progress = watch.progress_requester();
    let (mut seen, mut newest) = (0, after);
    let mut versions = std::collections::HashMap::new();
    while newest < last {
        if seen % 16 == 0 {
            progress.request();
        }
        let batch = watch.next().await.unwrap().unwrap();
        if batch.events.is_empty() {
            assert!(batch.revision.0 >= newest, "progress goes forward");
            newest = batch.revision.0;
            if newest < last {
                progress.request();
                tokio::task::yield_now().await;
            }
            continue;
        }
        assert!(batch.revision.0 > newest, "{} after {newest}", batch.revision);
        newest = batch.revision.0;
        for event in batch.events.iter() {
            seen += 1;
            let Event::Put { current, previous } = event else { panic!("{event:?}") };
            assert!(range.contains(&current.key));
            let before = versions.insert(current.key.clone(), current.mod_revision);
            let previous = previous.as_ref().map(|previous| previous.mod_revision);
            assert!(before.is_none() || before == previous, "no change in between is skipped");
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_miss_nothing_while_many_write() {
    const WRITERS: u64 = 8;
    const WRITES: u64 = 150;
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    let last = WRITERS * WRITES;
    // A crowd on one range, and some on others; half of them begin while writing goes on.
    let mut watchers = Vec::new();
    let watch = |prefix: String, after| {
        tokio::spawn(follow(store.clone(), KeyRange::prefix(prefix), after, last))
    };
    for _ in 0..100 {
        watchers.push((watch("k/".to_owned(), 0), last));
    }
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..WRITES {
                    commit(&store, put(&format!("k/{writer}/{}", number % 5), "")).await;
                }
            })
        })
        .collect();
    for writer in 0..WRITERS {
        watchers.push((watch(format!("k/{writer}/"), 0), WRITES));
    }
    for _ in 0..100 {
        watchers.push((watch("k/".to_owned(), 0), last));
    }
    watchers.push((watch("other/".to_owned(), 0), 0));
    for writer in writers {
        writer.await.unwrap();
    }
    for (watcher, expected) in watchers {
        let seen = tokio::time::timeout(Duration::from_secs(60), watcher).await.unwrap().unwrap();
        assert_eq!(seen as u64, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_at_a_revision_stay_the_same_while_history_is_compacted() {
    let mut options = EmbeddedOptions::new("");
    options.history_revisions_max = 64;
    let store = EmbeddedStore::volatile(options);
    for number in 0..6000 {
        commit(&store, put(&format!("k/{number:05}"), "0")).await;
    }
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            for number in 0..20_000 {
                commit(&store, put(&format!("k/{:05}", number % 6000), "1")).await;
            }
        }
    });
    let mut reads = 0;
    while !writing.is_finished() {
        let revision = store.revision().await.unwrap().0;
        let request =
            RangeRequest { range: KeyRange::prefix("k/"), revision: Revision(revision), limit: 0 };
        // It may be compacted before the read begins, but not while it goes on.
        let Ok(found) = store.range(request).await else { continue };
        assert_eq!(found.items.len(), 6000);
        let newest = found.items.iter().map(|item| item.mod_revision.0).max();
        assert_eq!(newest, Some(revision));
        let ones = found.items.iter().filter(|item| item.value == "1").count() as u64;
        assert_eq!(ones, (revision - 6000).min(6000));
        reads += 1;
    }
    writing.await.unwrap();
    assert!(reads > 0);
}
