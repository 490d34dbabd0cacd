//! How many pods per second are placed: `throughput [nodes] [pods] [workload]`.
//!
//! Workloads: `basic` (requests only), `spread` (hard zone and soft host constraints), `deployment` (default
//! spreading by ReplicaSet), `anti-affinity` (one per host), `affinity` (all in one zone), `preemption`
//! (a full cluster, every pod displaces another), `mixed` (all in turn).

use std::{error::Error, sync::Arc, time::Instant};

use k8s_openapi::{api::apps::v1::ReplicaSet, jiff::Timestamp};
use scheduling::{
    Cursor, Decision, Nomination, Profile, Snapshot,
    build::{self, PodBuilder},
    schedule,
};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";
const WORKLOADS: [&str; 5] = ["basic", "spread", "deployment", "anti-affinity", "affinity"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let nodes: usize = arguments.next().map_or(Ok(5000), |text| text.parse())?;
    let pods: usize = arguments.next().map_or(Ok(5000), |text| text.parse())?;
    let workload = arguments.next().unwrap_or_else(|| "basic".to_owned());
    let mut snapshot = cluster(nodes);
    if workload == "preemption" {
        for index in 0..nodes * 4 {
            let pod = build::pod(&format!("low-{index}")).requests("1", "1Gi").info();
            snapshot.set_pod(pod, &format!("node-{}", index % nodes));
        }
    }
    let profile = Profile::default();
    let mut cursor = Cursor::new(fastrand::Rng::with_seed(7));
    let wishes: Vec<_> = (0..pods).map(|index| Arc::new(wish(&workload, index).finish())).collect();
    let (mut placed, mut preempted, mut refused) = (0, 0, 0);
    let began = Instant::now();
    for wish in wishes {
        let pod = Arc::new(scheduling::PodInfo::new(wish));
        snapshot.prepare(&pod);
        match schedule(&snapshot, &pod, &profile, &mut cursor, Timestamp::UNIX_EPOCH) {
            Decision::Place(placement) => {
                placed += 1;
                snapshot.set_pod(pod, &placement.node);
            }
            Decision::Leave(_, preemption) => match preemption.nomination {
                Nomination::Node { name, victims, .. } => {
                    preempted += 1;
                    victims.iter().for_each(|victim| drop(snapshot.remove_pod(&victim.uid)));
                    snapshot.set_pod(pod, &name);
                }
                Nomination::Keep | Nomination::Clear => refused += 1,
            },
            Decision::NoNodes => return Err("no nodes".into()),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = pods as f64 / seconds;
    report(&format!(
        "{{\"workload\":\"{workload}\",\"nodes\":{nodes},\"pods\":{pods},\"placed\":{placed},\
         \"preempted\":{preempted},\"refused\":{refused},\"seconds\":{seconds:.3},\
         \"pods_per_second\":{rate:.0}}}"
    ));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result of the program")]
fn report(line: &str) {
    println!("{line}");
}

fn cluster(nodes: usize) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for index in 0..nodes {
        let node = build::node(&format!("node-{index}"))
            .zone(&format!("zone-{}", index % 3))
            .capacity(&[("cpu", "4"), ("memory", "32Gi")]);
        snapshot.set_node(node.finish());
    }
    let mut set = ReplicaSet::default();
    set.metadata.name = Some("web".to_owned());
    set.metadata.namespace = Some("default".to_owned());
    set.spec.selector = build::selector(&[("app", "deployment")]);
    snapshot.replica_sets.set(Arc::new(set));
    snapshot
}

fn wish(workload: &str, index: usize) -> PodBuilder {
    let pod = build::pod(&format!("pod-{index}"));
    let labels = [("app", workload)];
    let small = pod.clone().requests("100m", "500Mi").labels(&labels);
    match workload {
        "spread" => small.spread(5, ZONE, "DoNotSchedule", &labels).spread(
            1,
            HOST,
            "ScheduleAnyway",
            &labels,
        ),
        "deployment" => small.owner("apps/v1", "ReplicaSet", "web"),
        "anti-affinity" => small.apart(HOST, &labels),
        "affinity" => small.near(ZONE, &labels),
        "preemption" => pod.requests("4", "1Gi").priority(10),
        "mixed" => wish(WORKLOADS[index % WORKLOADS.len()], index),
        _ => small,
    }
}
