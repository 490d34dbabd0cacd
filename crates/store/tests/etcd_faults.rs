//! Rounds of faults on three etcd members: killed, stopped, cut off, restarted one after the other. No
//! acknowledged write may be lost, every watch must be whole, and the store must be well again soon.
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

#[path = "shared/etcd.rs"]
#[expect(dead_code, reason = "shared with the tests of behaviour")]
mod etcd_cluster;
#[path = "shared/history.rs"]
mod history;
#[path = "shared/proxy.rs"]
mod proxy;
#[path = "shared/workload.rs"]
#[expect(dead_code, reason = "shared with the tests of behaviour")]
mod workload;

use etcd_cluster::Cluster;
use proxy::Proxy;
use workload::{Outcome, Workload};

const ROUNDS: u64 = 4;
const MEMBERS: usize = 3;
/// How long a member may be stopped or cut off: some elections.
const FAULT_MAX: Duration = Duration::from_millis(3000);
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
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_a_member_costs_an_acknowledged_write() {
    let seeds = match setting("STORE_ETCD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("STORE_ETCD_ROUNDS").unwrap_or(ROUNDS),
    };
    let mut cluster = Cluster::start(MEMBERS);
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
        let mut random = fastrand::Rng::with_seed(seed);
        let fault = [Fault::Kill, Fault::Stop, Fault::Cut, Fault::Break, Fault::Roll]
            [usize::try_from(seed).unwrap() % 5];
        let victim = random.usize(0..MEMBERS);
        eprintln!("round {seed}: {fault:?} of member {victim}");
        let well_again =
            disturb(&mut cluster, &proxies, fault, victim, &mut random, &workload).await;
        let outcome = workload.finish(&servers[0]).await;
        eprintln!("round {seed}: {outcome:?}, well again after {well_again:?}");
        sum.acknowledged += outcome.acknowledged;
        sum.unknown += outcome.unknown;
        sum.failed += outcome.failed;
        slowest = slowest.max(well_again);
    }
    println!("rounds {seeds:?}: {sum:?}, slowest to be well again: {slowest:?}");
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
    match fault {
        Fault::Kill => {
            cluster.end(victim, Signal::KILL);
            workload.acknowledge(WRITES_AFTER).await;
            let well_again = begin.elapsed();
            cluster.run(victim);
            workload.acknowledge(WRITES_AFTER).await;
            return well_again;
        }
        Fault::Stop => {
            cluster.signal(victim, Signal::STOP);
            workload.acknowledge(WRITES_AFTER).await;
            let well_again = begin.elapsed();
            cluster.signal(victim, Signal::CONT);
            workload.acknowledge(WRITES_AFTER).await;
            return well_again;
        }
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
    }
    workload.acknowledge(WRITES_AFTER).await;
    begin.elapsed()
}
