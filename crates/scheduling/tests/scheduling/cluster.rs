//! A cluster for one test case.

use scheduling::{
    Cursor, Decision, Nomination, PodInfo, Profile, Snapshot,
    build::{NodeBuilder, PodBuilder},
    config::ProfileConfig,
    schedule,
};

use k8s_openapi::jiff::Timestamp;

pub(crate) struct Cluster {
    pub(crate) snapshot: Snapshot,
    pub(crate) profile: Profile,
    pub(crate) cursor: Cursor,
}

/// The time of all tests.
pub(crate) fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn cluster(nodes: impl IntoIterator<Item = NodeBuilder>) -> Cluster {
    let mut snapshot = Snapshot::new();
    for node in nodes {
        snapshot.set_node(node.finish());
    }
    let cursor = Cursor::new(fastrand::Rng::with_seed(1));
    Cluster { snapshot, profile: Profile::default(), cursor }
}

impl Cluster {
    /// Adds pods that are bound.
    pub(crate) fn with(mut self, pods: impl IntoIterator<Item = PodBuilder>) -> Self {
        for pod in pods {
            let pod = pod.info();
            let node = pod.node_name().unwrap().to_owned();
            self.snapshot.set_pod(pod, &node);
        }
        self
    }

    pub(crate) fn config(mut self, config: serde_json::Value) -> Self {
        let config: ProfileConfig = serde_json::from_value(config).unwrap();
        self.profile = Profile::new(&config).unwrap();
        self
    }

    pub(crate) fn decide(&mut self, pod: &PodInfo) -> Decision {
        schedule(&self.snapshot, pod, &self.profile, &mut self.cursor, now())
    }

    /// The node, or the message.
    pub(crate) fn answer(&mut self, pod: PodBuilder) -> String {
        match self.decide(&pod.info()) {
            Decision::Place(placement) => placement.node,
            Decision::Leave(error, _) => error.to_string(),
            Decision::NoNodes => "no nodes available to schedule pods".to_owned(),
        }
    }

    /// The message without what preemption says.
    pub(crate) fn reasons(&mut self, pod: PodBuilder) -> String {
        let answer = self.answer(pod);
        answer.split(" preemption: ").next().unwrap().to_owned()
    }

    /// All nodes that the pod is placed on over many ties.
    pub(crate) fn nodes(&mut self, pod: &PodBuilder) -> Vec<String> {
        let mut nodes: Vec<String> = (0..50).map(|_| self.answer(pod.clone())).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// The nominated node with its victims' names, sorted, or the message.
    pub(crate) fn preempts(&mut self, pod: PodBuilder) -> String {
        let Decision::Leave(error, preemption) = self.decide(&pod.info()) else {
            return "fits".to_owned();
        };
        match preemption.nomination {
            Nomination::Node { name, victims, .. } => {
                let victims: Vec<&str> = victims.iter().map(|pod| pod.name()).collect();
                format!("{name}: {}", victims.join(" "))
            }
            Nomination::Clear | Nomination::Keep => {
                error.to_string().split_once("preemption: ").unwrap().1.to_owned()
            }
        }
    }
}
