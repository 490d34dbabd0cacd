//! One suite of tests for every store: the embedded one in memory and on disk, and a real etcd.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

use std::sync::Arc;

use store::embedded::{EmbeddedOptions, EmbeddedStore};

#[path = "shared/authority.rs"]
#[expect(dead_code, reason = "shared with the tests of trust")]
mod authority;
#[path = "shared/behaviour.rs"]
mod behaviour;
#[path = "shared/etcd.rs"]
#[expect(dead_code, reason = "shared with the tests of faults")]
mod etcd_cluster;
#[path = "shared/history.rs"]
mod history;
#[path = "shared/network.rs"]
#[expect(dead_code, reason = "shared with the tests of faults")]
mod network;
#[path = "shared/transactions.rs"]
mod transactions;
#[path = "shared/workload.rs"]
mod workload;

use behaviour::Tested;
use etcd_cluster::Cluster;

fn in_memory() -> Tested {
    Arc::new(EmbeddedStore::volatile(EmbeddedOptions::new("")))
}

async fn on_disk() -> (Tested, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(EmbeddedOptions::new(folder.path())).await.unwrap();
    (Arc::new(store), folder)
}

async fn in_etcd() -> (Tested, Cluster) {
    let cluster = Cluster::start(1);
    (Arc::new(cluster.store("/test/").await), cluster)
}

macro_rules! every_store {
    ($($test:ident)*) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::behaviour::$test(super::in_memory()).await;
                    let (store, _folder) = super::on_disk().await;
                    super::behaviour::$test(store).await;
                }
            )*
        }
        mod etcd {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let (store, _cluster) = super::in_etcd().await;
                    super::behaviour::$test(store).await;
                }
            )*
        }
    };
}

every_store! {
    comparisons_decide
    all_comparisons_must_hold
    ranges_are_limited_and_counted
    compaction_ends_old_reads_and_watches
    watches_see_their_range
    events_carry_what_was_before
    progress_marks_are_true
    a_lease_takes_its_keys_with_it
    malformed_transactions_are_refused
    concurrent_increments_lose_nothing
    a_simple_model_agrees
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_move_between_stores() {
    let (etcd, cluster) = in_etcd().await;
    behaviour::a_snapshot_comes_back(in_memory(), Arc::clone(&etcd)).await;
    behaviour::a_snapshot_comes_back(
        Arc::new(cluster.store("/one/").await),
        Arc::new(cluster.store("/two/").await),
    )
    .await;
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("snapshot");
    let mut out = tokio::fs::File::create(&path).await.unwrap();
    let saved = store::snapshot::save(&*etcd, jiff::Timestamp::UNIX_EPOCH, &mut out).await.unwrap();
    let place = file.path().join("store");
    assert_eq!(store::embedded::restore(&place, &path).unwrap(), saved);
    let again = store::embedded::restore(&place, &path).unwrap_err().to_string();
    assert!(again.ends_with("store is not empty"), "{again}");
    let store = EmbeddedStore::open(EmbeddedOptions::new(&place)).await.unwrap();
    let mut once_more = Vec::new();
    let found = store::snapshot::save(&store, jiff::Timestamp::UNIX_EPOCH, &mut once_more).await;
    let found = found.unwrap();
    assert_eq!((found.keys, found.leases), (saved.keys, saved.leases));
    assert!(found.revision > saved.revision, "no revision means two things");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_history_is_linearizable_in_memory() {
    workload::run_undisturbed(&[in_memory()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_history_is_linearizable_on_disk() {
    let (store, _folder) = on_disk().await;
    workload::run_undisturbed(&[store]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_history_of_two_servers_on_etcd_is_linearizable() {
    let cluster = Cluster::start(1);
    let servers: [Tested; 2] =
        [Arc::new(cluster.store("/test/").await), Arc::new(cluster.store("/test/").await)];
    workload::run_undisturbed(&servers).await;
}
