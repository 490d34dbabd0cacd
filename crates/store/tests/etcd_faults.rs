//! Rounds of faults on three etcd members, each in a network of its own: killed, stopped, cut off from the servers or
//! from each other, restarted one after the other. No acknowledged write may be lost, every watch must be whole,
//! and the store must be well again soon.
//!
//! `STORE_ETCD_ROUNDS` sets how many rounds; a failing one is named and can be run alone by `STORE_ETCD_SEED`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use store::Store;
use tokio::sync::oneshot;

#[path = "shared/authority.rs"]
#[expect(dead_code, reason = "shared with the tests of trust")]
mod authority;
#[path = "shared/etcd.rs"]
#[expect(dead_code, reason = "shared with the tests of behaviour")]
mod etcd_cluster;
#[path = "shared/history.rs"]
mod history;
#[path = "shared/network.rs"]
mod network;
#[path = "shared/proxy.rs"]
mod proxy;
#[path = "shared/workload.rs"]
#[expect(dead_code, reason = "shared with the tests of behaviour")]
mod workload;

use etcd_cluster::Cluster;
use network::Party;
use proxy::Proxy;
use workload::{Outcome, Workload};

const ROUNDS: u64 = 10;
const MEMBERS: usize = 3;
/// How long a member may be stopped or cut off: some elections.
const FAULT_MAX: Duration = Duration::from_millis(3000);
/// How long writes may not be acknowledged after the beginning of a fault: one that was on its way when its
/// member fell silent waits for five seconds, and an election may come before and behind it.
const WELL_AGAIN_MAX: Duration = Duration::from_secs(10);
const LEASE_SECONDS: u64 = 60;
const LEASE_PERIOD: Duration = Duration::from_millis(100);
/// How long the members may be without a leader that all know.
const ELECTION_MAX: Duration = Duration::from_secs(30);
/// Writes that must be acknowledged after a fault, which shows that the store is well again.
const WRITES_AFTER: u64 = 50;

/// What is done to the cluster.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGKILL, and a start afterwards.
    Kill,
    /// SIGSTOP for a while.
    Stop,
    /// The network between the servers and a member is silent for a while.
    Cut,
    /// Every connection of the servers to a member breaks.
    Break,
    /// Every member ends in peace and starts again, one after the other.
    Roll,
    /// SIGSTOP of the leader for a while.
    StopLeader,
    /// A member neither hears nor is heard, by the others and the servers.
    Isolate,
    /// The same of the leader.
    IsolateLeader,
    /// The leader and the other members do not hear each other; the servers hear all.
    PartLeader,
    /// The others do not hear a member, but are heard.
    Mute,
}

const FAULTS: [Fault; 10] = [
    Fault::Kill,
    Fault::Stop,
    Fault::Cut,
    Fault::Break,
    Fault::Roll,
    Fault::StopLeader,
    Fault::Isolate,
    Fault::IsolateLeader,
    Fault::PartLeader,
    Fault::Mute,
];

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_a_member_costs_an_acknowledged_write() {
    let seeds = match setting("STORE_ETCD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("STORE_ETCD_ROUNDS").unwrap_or(ROUNDS),
    };
    let mut cluster = Cluster::start_apart(MEMBERS);
    let proxies: Vec<_> = cluster.servers().iter().map(|server| Proxy::start(server)).collect();
    let addresses: Vec<_> = proxies.iter().map(Proxy::address).collect();
    let (mut sum, mut slowest) = (Outcome::default(), Duration::ZERO);
    for seed in seeds.clone() {
        let prefix = format!("/round-{seed}/");
        let servers: [Arc<dyn Store>; 2] = [
            Arc::new(cluster.store_at(addresses.clone(), &prefix).await),
            Arc::new(cluster.store_at(addresses.clone(), &prefix).await),
        ];
        let workload = Workload::start(&servers, seed).await;
        workload.acknowledge(20).await;
        let (done, is_done) = oneshot::channel();
        let keeping = tokio::spawn(keep_a_lease(Arc::clone(&servers[1]), is_done));
        let mut random = fastrand::Rng::with_seed(seed);
        let fault = FAULTS[usize::try_from(seed).unwrap() % FAULTS.len()];
        let victim = match fault {
            Fault::StopLeader | Fault::IsolateLeader | Fault::PartLeader => leader(&cluster).await,
            _ => random.usize(0..MEMBERS),
        };
        eprintln!("round {seed}: {fault:?} of member {victim}");
        let well_again =
            disturb(&mut cluster, &proxies, fault, victim, &mut random, &workload).await;
        done.send(()).unwrap();
        let kept = keeping.await.unwrap();
        let outcome = workload.finish(&servers[0]).await;
        eprintln!(
            "round {seed}: {outcome:?}, well again after {well_again:?}, a lease kept {kept} times"
        );
        sum.acknowledged += outcome.acknowledged;
        sum.unknown += outcome.unknown;
        sum.failed += outcome.failed;
        sum.slowest_answer = sum.slowest_answer.max(outcome.slowest_answer);
        slowest = slowest.max(well_again);
        assert!(well_again < WELL_AGAIN_MAX, "round {seed}: {fault:?} of {victim}: {well_again:?}");
    }
    println!("rounds {seeds:?}: {sum:?}, slowest to be well again: {slowest:?}");
}

/// Keeps a lease alive, which no fault may end; answers how often. One try may come to nothing, as long as another
/// is in time.
async fn keep_a_lease(server: Arc<dyn Store>, mut is_done: oneshot::Receiver<()>) -> usize {
    let lease = server.grant_lease(LEASE_SECONDS).await.unwrap();
    let (mut kept, mut last_kept) = (0, Instant::now());
    while is_done.try_recv().is_err() {
        match server.keep_alive(lease).await {
            Ok(left) => {
                assert_eq!(left, LEASE_SECONDS);
                (kept, last_kept) = (kept + 1, Instant::now());
            }
            Err(error) => {
                let since = last_kept.elapsed();
                assert!(since.as_secs() < LEASE_SECONDS, "not kept for {since:?}: {error:?}");
            }
        }
        clock::Clock::system().sleep(LEASE_PERIOD).await;
    }
    server.revoke_lease(lease).await.unwrap();
    kept
}

/// Who leads, once somebody does.
async fn leader(cluster: &Cluster) -> usize {
    let begin = Instant::now();
    loop {
        if let Some(leader) = cluster.leader() {
            return leader;
        }
        assert!(begin.elapsed() < ELECTION_MAX, "nobody leads");
        tokio::task::yield_now().await;
    }
}

/// Everything that is lost when `victim` is cut off from `others`.
fn both_ways(victim: usize, others: impl Iterator<Item = Party>) -> Vec<(Party, Party)> {
    let victim = Party::Member(victim);
    others.flat_map(|other| [(victim, other), (other, victim)]).collect()
}

/// Does the damage and undoes it; answers how long writes were not acknowledged after it began.
async fn disturb(
    cluster: &mut Cluster,
    proxies: &[Proxy],
    fault: Fault,
    victim: usize,
    random: &mut fastrand::Rng,
    workload: &Workload,
) -> Duration {
    let begin = Instant::now();
    let lasts = FAULT_MAX.mul_f64(random.f64());
    let others = || (0..MEMBERS).filter(|at| *at != victim).map(Party::Member);
    match fault {
        Fault::Kill => cluster.end(victim, Signal::KILL),
        Fault::Stop | Fault::StopLeader => cluster.signal(victim, Signal::STOP),
        Fault::Cut => {
            proxies[victim].silence(true);
            clock::Clock::system().sleep(lasts).await;
            proxies[victim].silence(false);
        }
        Fault::Break => proxies[victim].break_all(),
        Fault::Roll => {
            for at in 0..MEMBERS {
                cluster.end(at, Signal::TERM);
                workload.acknowledge(WRITES_AFTER).await;
                cluster.run(at);
                cluster.joined(at).await;
            }
        }
        Fault::Isolate | Fault::IsolateLeader => {
            let everybody = others().chain([Party::Client]);
            cluster.network().lose(&both_ways(victim, everybody));
        }
        Fault::PartLeader => cluster.network().lose(&both_ways(victim, others())),
        Fault::Mute => {
            let heard = others().map(|other| (Party::Member(victim), other));
            cluster.network().lose(&heard.collect::<Vec<_>>());
        }
    }
    workload.acknowledge(WRITES_AFTER).await;
    let well_again = begin.elapsed();
    undo(cluster, fault, victim);
    workload.acknowledge(WRITES_AFTER).await;
    well_again
}

/// Undoes a fault that does not end by itself.
fn undo(cluster: &mut Cluster, fault: Fault, victim: usize) {
    match fault {
        Fault::Kill => cluster.run(victim),
        Fault::Stop | Fault::StopLeader => cluster.signal(victim, Signal::CONT),
        Fault::Isolate | Fault::IsolateLeader | Fault::PartLeader | Fault::Mute => {
            cluster.network().heal();
        }
        Fault::Cut | Fault::Break | Fault::Roll => {}
    }
}
