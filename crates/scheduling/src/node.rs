//! A node as the scheduler sees it, with the sums over its pods kept up to date.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::{
    labels::{self, Labels},
    pod::PodInfo,
    resources::Resources,
    taints,
};

/// The place of a node in a snapshot; kept as long as the node exists, reused afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(crate) u32);

impl Slot {
    /// The slot as an index into per-node columns.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A parsed node and its pods.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// The object itself.
    pub node: Arc<Node>,
    /// The node's place in the snapshot.
    pub slot: Slot,
    /// What pods may use in total.
    pub allocatable: Resources,
    /// The sum of the requests of its pods.
    pub requested: Resources,
    /// The same with the scoring floor.
    pub requested_scored: Resources,
    /// The pods on it, bound or assumed.
    pub pods: Vec<Arc<PodInfo>>,
    /// Image name to size in bytes.
    pub images: Arc<HashMap<Arc<str>, i64>>,
    /// Number of pods with host ports, so that most nodes are passed in no time.
    pub(crate) pods_with_ports: usize,
    /// Number of taints of effect PreferNoSchedule.
    pub(crate) taints_soft: usize,
    /// The message for each taint, made once.
    pub(crate) taint_messages: Arc<[Arc<str>]>,
}

impl NodeInfo {
    pub(crate) fn new(node: Arc<Node>, slot: Slot) -> Self {
        let mut info = Self {
            node: Arc::clone(&node),
            slot,
            allocatable: Resources::default(),
            requested: Resources::default(),
            requested_scored: Resources::default(),
            pods: Vec::new(),
            images: Arc::default(),
            pods_with_ports: 0,
            taints_soft: 0,
            taint_messages: Arc::default(),
        };
        info.set_node(node);
        info
    }

    /// Replaces the object and all that is read from it; pods stay.
    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        // A node with an unreadable quantity offers nothing, as does one that reports nothing yet.
        self.allocatable =
            allocatable.and_then(|list| Resources::of(list).ok()).unwrap_or_default();
        self.images = images(&node);
        self.node = node;
        self.taints_soft =
            self.taints().iter().filter(|taint| taint.effect == taints::PREFER_NO_SCHEDULE).count();
        self.taint_messages = self
            .taints()
            .iter()
            .map(|taint| {
                let value = taint.value.as_deref().unwrap_or_default();
                Arc::from(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key))
            })
            .collect();
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    /// The node's labels.
    pub fn labels(&self) -> &Labels {
        labels::of(&self.node.metadata)
    }

    /// The node's taints.
    pub fn taints(&self) -> &[Taint] {
        self.node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
    }

    /// Whether the node is cordoned.
    pub fn is_unschedulable(&self) -> bool {
        self.node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
    }

    pub(crate) fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.requested_scored.add(&pod.scored);
        self.pods_with_ports += usize::from(!pod.ports.is_empty());
        self.pods.push(pod);
    }

    pub(crate) fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let position = self.pods.iter().position(|pod| *pod.uid == *uid)?;
        let pod = self.pods.swap_remove(position);
        self.requested.subtract(&pod.requests);
        self.requested_scored.subtract(&pod.scored);
        self.pods_with_ports -= usize::from(!pod.ports.is_empty());
        Some(pod)
    }
}

fn images(node: &Node) -> Arc<HashMap<Arc<str>, i64>> {
    let list = node.status.iter().flat_map(|status| status.images.iter().flatten());
    let named = list.flat_map(|image| {
        let size = image.size_bytes.unwrap_or_default();
        image.names.iter().flatten().map(move |name| (Arc::from(name.as_str()), size))
    });
    Arc::new(named.collect())
}
