//! etcd behind TLS that wants to see certificates of clients: three members, and what is said of each mistake.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

use std::sync::Arc;

use rustix::process::Signal;
use store::etcd::{EtcdOptions, EtcdStore};
use store::{KeyRange, Revision, Store};

#[path = "shared/authority.rs"]
mod authority;
#[path = "shared/etcd.rs"]
#[expect(dead_code, reason = "shared with the tests of behaviour")]
mod etcd_cluster;
#[path = "shared/history.rs"]
mod history;
#[path = "shared/network.rs"]
#[expect(dead_code, reason = "shared with the tests of faults")]
mod network;
#[path = "shared/workload.rs"]
#[expect(dead_code, reason = "shared with the tests of behaviour")]
mod workload;

use authority::{Authority, Valid};
use etcd_cluster::Cluster;
use workload::Workload;

const MEMBERS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_on_three_members_with_certificates_outlives_a_member() {
    let mut cluster = Cluster::start_with_tls(MEMBERS, Authority::new("ca"), Valid::Now);
    let servers: [Arc<dyn Store>; 2] =
        [Arc::new(cluster.store("/t/").await), Arc::new(cluster.store("/t/").await)];
    let workload = Workload::start(&servers, 1).await;
    workload.acknowledge(50).await;
    cluster.end(0, Signal::KILL);
    workload.acknowledge(50).await;
    cluster.run(0);
    workload.acknowledge(50).await;
    assert!(workload.finish(&servers[0]).await.acknowledged >= 150);
}

/// Everything that an error says, from the outside in.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn refused(options: EtcdOptions) -> String {
    match EtcdStore::open(options).await {
        Ok(_) => panic!("it is let in"),
        Err(error) => said(&error),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_certificate_is_said() {
    let cluster = Cluster::start_with_tls(MEMBERS, Authority::new("ca"), Valid::Now);
    let right = cluster.options("/t/");
    let store = cluster.store_with(right.clone()).await;
    store.watch(KeyRange::all(), Revision(0)).await.unwrap();
    let other = Authority::new("other");
    let wrong = |change: fn(&mut EtcdOptions, &Authority)| {
        let mut options = right.clone();
        change(&mut options, &other);
        options
    };
    for (options, expected) in [
        (
            wrong(|it, other| it.authority_pem = Some(other.certificate_pem.clone())),
            "etcd-cafile: no authority in it has signed the certificate of https://127.0.0.1:",
        ),
        (wrong(|it, _| it.authority_pem = None), "etcd-cafile is missing: nobody vouches for"),
        (
            wrong(|it, _| it.authority_pem = Some("x".into())),
            "etcd-cafile has no certificate in it",
        ),
        (
            wrong(|it, _| it.identity_pem = None),
            "etcd-certfile and etcd-keyfile are missing: https://",
        ),
        (
            wrong(|it, other| it.identity_pem = Some(other.certify("client", Valid::Now))),
            "does not accept this certificate of a client",
        ),
        (
            wrong(|it, other| {
                it.identity_pem.as_mut().unwrap().1 = other.certify("client", Valid::Now).1;
            }),
            "etcd-keyfile is not the key of the certificate in etcd-certfile",
        ),
        (
            wrong(|it, other| it.identity_pem = Some(other.certify("late", Valid::Before))),
            "etcd-certfile: the certificate of CN=late expired on",
        ),
    ] {
        let said = refused(options).await;
        assert!(said.contains(expected), "{said:?} says {expected:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_certificate_has_expired_is_named() {
    let cluster = Cluster::start_with_tls(1, Authority::new("ca"), Valid::Before);
    let begin = std::time::Instant::now();
    // The member may take its time to listen.
    let said = loop {
        let said = refused(cluster.options("/t/")).await;
        if !said.contains("refused") || begin.elapsed().as_secs() > 30 {
            break said;
        }
    };
    assert!(said.contains("etcd-servers: the certificate of https://127.0.0.1:"), "{said}");
    assert!(said.contains("has expired"), "{said}");
}
