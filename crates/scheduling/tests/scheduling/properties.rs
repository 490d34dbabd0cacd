//! What holds for every cluster.

use std::collections::HashMap;

use crate::cluster::cluster;
use proptest::prelude::*;
use scheduling::{
    Decision,
    build::{PodBuilder, node, pod},
};

#[derive(Clone, Debug)]
struct Wish {
    milli_cpu: i64,
    memory: i64,
    gpus: i64,
    port: i32,
    priority: i32,
    apart: bool,
}

fn wish() -> impl Strategy<Value = Wish> {
    (0..3000_i64, 0..4000_i64, 0..3_i64, 0..4, 0..3, any::<bool>()).prop_map(
        |(milli_cpu, memory, gpus, port, priority, apart)| Wish {
            milli_cpu,
            memory,
            gpus,
            port,
            priority,
            apart,
        },
    )
}

impl Wish {
    fn build(&self, index: usize) -> PodBuilder {
        let (cpu, memory) = (format!("{}m", self.milli_cpu), self.memory.to_string());
        let gpus = self.gpus.to_string();
        let mut pod = pod(&format!("p{index}"))
            .priority(self.priority)
            .labels(&[("app", "a")])
            .container("image", &[("cpu", &cpu), ("memory", &memory), ("example.com/gpu", &gpus)]);
        if self.port > 0 {
            pod = pod.host_port("", "TCP", self.port);
        }
        if self.apart { pod.apart("kubernetes.io/hostname", &[("app", "a")]) } else { pod }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Pods come, are placed or displace others; no node ever holds more than it has.
    #[test]
    fn nothing_is_placed_beyond_what_is_allocatable(
        sizes in prop::collection::vec((0..8_i64, 0..8000_i64, 0..4_i64, 0..6_i64), 1..6),
        wishes in prop::collection::vec(wish(), 1..40),
    ) {
        let nodes = sizes.iter().enumerate().map(|(index, (cpu, memory, gpus, pods))| {
            node(&format!("n{index}")).capacity(&[
                ("cpu", &cpu.to_string()),
                ("memory", &memory.to_string()),
                ("example.com/gpu", &gpus.to_string()),
                ("pods", &pods.to_string()),
            ])
        });
        let mut cluster = cluster(nodes);
        for (index, wish) in wishes.iter().enumerate() {
            let pod = wish.build(index).info();
            let mut decision = cluster.decide(&pod);
            if let Decision::Leave(_, preemption) = &decision
                && let scheduling::Nomination::Node { name, victims, .. } = &preemption.nomination
            {
                prop_assert!(!victims.is_empty());
                for victim in victims {
                    prop_assert!(victim.priority < pod.priority);
                    let (_, on) = cluster.snapshot.pod(&victim.uid).unwrap();
                    prop_assert_eq!(on, name.as_str());
                    cluster.snapshot.remove_pod(&victim.uid);
                }
                decision = cluster.decide(&pod);
                prop_assert!(matches!(decision, Decision::Place(_)), "victims left, but it does not fit");
            }
            if let Decision::Place(placement) = decision {
                cluster.snapshot.set_pod(pod, &placement.node);
            }
            for node in cluster.snapshot.nodes() {
                let (have, used) = (&node.allocatable, &node.requested);
                prop_assert!(node.pods.is_empty() || node.pods.len() as i64 <= have.pods);
                prop_assert!(used.milli_cpu <= have.milli_cpu);
                prop_assert!(used.memory <= have.memory);
                prop_assert!(used.scalar("example.com/gpu") <= have.scalar("example.com/gpu"));
                let mut ports = HashMap::new();
                for port in node.pods.iter().flat_map(|pod| &pod.ports) {
                    prop_assert!(ports.insert(port.port, ()).is_none());
                }
                let hermits = node.pods.iter().filter(|pod| !pod.terms.is_empty()).count();
                prop_assert!(hermits == 0 || node.pods.len() == 1);
            }
        }
    }
}
