//! History that etcd forgets while a store cannot see it: its watchers are cut off, nobody is told half a story, and
//! everything goes on from what is there.
#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use store::etcd::EtcdStore;
use store::{
    KeyRange, Operation, RangeRequest, Revision, Store, StoreError, Transaction, TransactionResult,
    Watch,
};

#[path = "shared/authority.rs"]
#[expect(dead_code, reason = "shared with the tests of trust")]
mod authority;
#[path = "shared/etcd.rs"]
#[expect(dead_code, reason = "shared with the tests of faults")]
mod etcd_cluster;
#[path = "shared/network.rs"]
#[expect(dead_code, reason = "shared with the tests of faults")]
mod network;
#[path = "shared/proxy.rs"]
mod proxy;

use etcd_cluster::Cluster;
use proxy::Proxy;

const PATIENCE: Duration = Duration::from_secs(60);

async fn put(store: &EtcdStore, key: &str) -> Revision {
    let (key, value) = (key.to_owned().into(), "value".into());
    let operations = vec![Operation::Put { key, value, lease: None }];
    match store.transact(Transaction { compares: vec![], operations }).await.unwrap() {
        TransactionResult::Committed { revision } => revision,
        TransactionResult::Conflict { .. } => unreachable!("nothing is compared"),
    }
}

/// The next keys that a watch shows, or its end.
async fn next(watch: &mut Watch) -> Result<Vec<String>, StoreError> {
    let batch = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap()?;
    let name = |event: &store::Event| String::from_utf8_lossy(event.key()).into_owned();
    Ok(batch.events.iter().map(name).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_missed_what_is_compacted_goes_on_behind_it() {
    let cluster = Cluster::start(1);
    let proxy = Proxy::start(&cluster.servers()[0]);
    let behind = cluster.store_at(vec![proxy.address()], "/t/").await;
    let ahead = cluster.store("/t/").await;
    let seen = put(&ahead, "seen").await;
    let mut watch = behind.watch(KeyRange::all(), Revision(seen.0 - 1)).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap(), ["seen"]);

    proxy.silence(true);
    proxy.break_all();
    put(&ahead, "missed").await;
    let last = put(&ahead, "kept").await;
    ahead.compact(last).await.unwrap();
    proxy.silence(false);

    let ended = next(&mut watch).await;
    assert!(matches!(ended, Err(StoreError::TooSlow)), "{ended:?}");
    assert!(watch.next().await.is_none(), "it has ended");
    let resumed = behind.watch(KeyRange::all(), seen).await;
    let Err(StoreError::Compacted { requested, compacted }) = resumed else {
        panic!("{resumed:?}")
    };
    assert_eq!((requested, compacted), (seen, last));
    let old = RangeRequest { range: KeyRange::all(), revision: seen, limit: 0 };
    let refused = behind.range(old).await;
    assert!(matches!(refused, Err(StoreError::Compacted { .. })), "{refused:?}");

    let now = behind.revision().await.unwrap();
    assert!(now >= last);
    let all = RangeRequest { range: KeyRange::all(), revision: now, limit: 0 };
    assert_eq!(behind.range(all).await.unwrap().items.len(), 3);
    let mut again = behind.watch(KeyRange::all(), now).await.unwrap();
    put(&ahead, "later").await;
    assert_eq!(next(&mut again).await.unwrap(), ["later"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_has_seen_what_is_compacted_is_not_disturbed() {
    let cluster = Cluster::start(1);
    let store = cluster.store("/t/").await;
    let first = put(&store, "a").await;
    let mut watch = store.watch(KeyRange::all(), first).await.unwrap();
    let last = put(&store, "b").await;
    // Seen: its own write may be answered before etcd's watch tells of it.
    assert_eq!(next(&mut watch).await.unwrap(), ["b"]);
    store.compact(last).await.unwrap();
    put(&store, "c").await;
    assert_eq!(next(&mut watch).await.unwrap(), ["c"]);
    // etcd forgets what is before the compacted revision; a watch may begin there.
    let mut resumed = store.watch(KeyRange::all(), Revision(last.0 - 1)).await.unwrap();
    assert_eq!(next(&mut resumed).await.unwrap(), ["b"]);
}
