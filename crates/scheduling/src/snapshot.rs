//! The cluster as placement sees it, changed in small steps and read by decisions.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{
        Namespace, Node, PersistentVolume, PersistentVolumeClaim, ReplicationController, Service,
    },
    policy::v1::PodDisruptionBudget,
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};

use crate::{
    groups::Groups,
    labels::{self, Labels},
    node::{NodeInfo, Slot},
    objects::Objects,
    pod::PodInfo,
    topology::{Column, Topology},
};

/// The hostname label; most spreading is over it.
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
/// The zone label.
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
/// The region label.
pub(crate) const REGION: &str = "topology.kubernetes.io/region";

static NO_LABELS: Labels = Labels::new();

#[derive(Clone, Debug)]
struct PlacedPod {
    info: Arc<PodInfo>,
    node: String,
}

/// Nodes with their pods, and everything else that placement depends on.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// PersistentVolumeClaims.
    pub claims: Objects<PersistentVolumeClaim>,
    /// PersistentVolumes.
    pub volumes: Objects<PersistentVolume>,
    /// StorageClasses.
    pub classes: Objects<StorageClass>,
    /// CSINodes.
    pub csi_nodes: Objects<CSINode>,
    /// CSIDrivers.
    pub csi_drivers: Objects<CSIDriver>,
    /// CSIStorageCapacities.
    pub capacities: Objects<CSIStorageCapacity>,
    /// VolumeAttachments.
    pub attachments: Objects<VolumeAttachment>,
    /// Namespaces, for their labels.
    pub namespaces: Objects<Namespace>,
    /// Services, for default spreading.
    pub services: Objects<Service>,
    /// ReplicaSets, for default spreading.
    pub replica_sets: Objects<ReplicaSet>,
    /// StatefulSets, for default spreading.
    pub stateful_sets: Objects<StatefulSet>,
    /// ReplicationControllers, for default spreading.
    pub replication_controllers: Objects<ReplicationController>,
    /// PodDisruptionBudgets, for preemption.
    pub budgets: Objects<PodDisruptionBudget>,
    nodes: Vec<Option<NodeInfo>>,
    free: Vec<Slot>,
    by_name: HashMap<String, Slot>,
    zones: BTreeMap<String, Vec<Slot>>,
    order: Vec<Slot>,
    pods: HashMap<Arc<str>, PlacedPod>,
    waiting_for_node: HashMap<String, Vec<Arc<str>>>,
    nominated: HashMap<String, Vec<Arc<PodInfo>>>,
    nominated_node: HashMap<Arc<str>, String>,
    claim_users: HashMap<String, u32>,
    image_nodes: HashMap<Arc<str>, u32>,
    pub(crate) groups: Groups,
    topology: Topology,
}

impl Snapshot {
    /// A cluster without nodes.
    pub fn new() -> Self {
        let mut snapshot = Self::default();
        for key in [HOSTNAME, ZONE] {
            snapshot.register_topology_key(key);
        }
        snapshot
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.order.len()
    }

    /// Number of pods on nodes.
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// The node called `name`.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.by_name.get(name).and_then(|slot| self.at(*slot))
    }

    /// The node in `slot`.
    pub fn at(&self, slot: Slot) -> Option<&NodeInfo> {
        self.nodes.get(slot.index()).and_then(Option::as_ref)
    }

    /// All nodes, zones taking turns.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.order.iter().filter_map(|slot| self.at(*slot))
    }

    /// The nodes' slots, zones taking turns.
    pub(crate) fn order(&self) -> &[Slot] {
        &self.order
    }

    /// One more than the largest slot.
    pub(crate) fn slots(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a node or replaces what is known of it; its pods stay.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let Some(name) = node.metadata.name.clone() else { return };
        let slot = match self.by_name.get(&name) {
            Some(slot) => self.change_node(*slot, node),
            None => self.insert_node(name, node),
        };
        self.note_images(slot, true);
        if let Some(info) = self.nodes[slot.index()].as_ref() {
            self.topology.place(slot, info.labels());
        }
        self.compact();
    }

    fn change_node(&mut self, slot: Slot, node: Arc<Node>) -> Slot {
        self.note_images(slot, false);
        let zone = zone_of(&node);
        if let Some(info) = self.nodes[slot.index()].as_mut() {
            let zone_before = zone_of(&info.node);
            info.set_node(node);
            if zone != zone_before {
                self.leave_zone(slot, &zone_before);
                self.zones.entry(zone).or_default().push(slot);
                self.reorder();
            }
        }
        slot
    }

    fn insert_node(&mut self, name: String, node: Arc<Node>) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            // More nodes than a u32 counts cannot be held in memory.
            Slot(u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX))
        });
        self.zones.entry(zone_of(&node)).or_default().push(slot);
        self.nodes[slot.index()] = Some(NodeInfo::new(node, slot));
        self.reorder();
        let waiting = self.waiting_for_node.remove(&name).unwrap_or_default();
        self.by_name.insert(name, slot);
        for uid in waiting {
            if let Some(placed) = self.pods.get(&uid) {
                let info = Arc::clone(&placed.info);
                self.attach(slot, info);
            }
        }
        slot
    }

    /// Removes a node; its pods wait for one of the same name.
    pub fn remove_node(&mut self, name: &str) {
        let Some(slot) = self.by_name.remove(name) else { return };
        self.note_images(slot, false);
        let Some(info) = self.nodes[slot.index()].take() else { return };
        for pod in &info.pods {
            self.groups.remove(pod, slot);
            self.waiting_for_node.entry(name.to_owned()).or_default().push(Arc::clone(&pod.uid));
        }
        let zone = zone_of(&info.node);
        self.leave_zone(slot, &zone);
        self.free.push(slot);
        self.reorder();
        self.topology.remove(slot);
        self.compact();
    }

    fn compact(&mut self) {
        let nodes = &self.nodes;
        self.topology.compact(|| nodes.iter().flatten());
    }

    /// Puts `pod` on the node called `node`, moving it there when it is elsewhere. The node may still be
    /// unknown.
    pub fn set_pod(&mut self, info: Arc<PodInfo>, node: &str) {
        self.remove_pod(&info.uid);
        for claim in &info.claims {
            *self.claim_users.entry(claim_key(info.namespace(), &claim.name)).or_default() += 1;
        }
        self.prepare(&info);
        match self.by_name.get(node) {
            Some(slot) => self.attach(*slot, Arc::clone(&info)),
            None => {
                let waiting = self.waiting_for_node.entry(node.to_owned()).or_default();
                waiting.push(Arc::clone(&info.uid));
            }
        }
        self.pods.insert(Arc::clone(&info.uid), PlacedPod { info, node: node.to_owned() });
    }

    /// Takes a pod off its node.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let placed = self.pods.remove(uid)?;
        for claim in &placed.info.claims {
            let key = claim_key(placed.info.namespace(), &claim.name);
            if let Some(users) = self.claim_users.get_mut(&key) {
                *users -= 1;
                if *users == 0 {
                    self.claim_users.remove(&key);
                }
            }
        }
        if let Some(slot) = self.by_name.get(&placed.node).copied() {
            if let Some(node) = self.nodes[slot.index()].as_mut() {
                node.remove_pod(uid);
            }
            self.groups.remove(&placed.info, slot);
        } else if let Some(waiting) = self.waiting_for_node.get_mut(&placed.node) {
            waiting.retain(|waiting| **waiting != *uid);
            if waiting.is_empty() {
                self.waiting_for_node.remove(&placed.node);
            }
        }
        Some(placed.info)
    }

    /// The placed pod with `uid` and its node's name.
    pub fn pod(&self, uid: &str) -> Option<(&Arc<PodInfo>, &str)> {
        self.pods.get(uid).map(|placed| (&placed.info, placed.node.as_str()))
    }

    /// Makes the columns that placing `pod` will read. Placing works without, but slower.
    pub fn prepare(&mut self, pod: &PodInfo) {
        for term in pod.terms.all() {
            self.register_topology_key(&term.topology_key);
        }
        let constraints = pod.spec().and_then(|spec| spec.topology_spread_constraints.as_deref());
        for constraint in constraints.unwrap_or_default() {
            self.register_topology_key(&constraint.topology_key);
        }
    }

    /// Makes the column of a node label.
    pub fn register_topology_key(&mut self, key: &str) {
        self.topology.register(key, self.nodes.iter().flatten());
    }

    /// Notes that room is being made for `pod` on `node`.
    pub fn nominate(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.withdraw_nomination(&pod.uid);
        self.nominated_node.insert(Arc::clone(&pod.uid), node.to_owned());
        self.nominated.entry(node.to_owned()).or_default().push(pod);
    }

    /// Forgets that room is being made for the pod with `uid`; `false` when none was.
    pub fn withdraw_nomination(&mut self, uid: &str) -> bool {
        let Some(node) = self.nominated_node.remove(uid) else { return false };
        if let Some(pods) = self.nominated.get_mut(&node) {
            pods.retain(|pod| *pod.uid != *uid);
            if pods.is_empty() {
                self.nominated.remove(&node);
            }
        }
        true
    }

    /// Pods that room is being made for on `node`.
    pub fn nominated_on(&self, node: &str) -> &[Arc<PodInfo>] {
        if self.nominated.is_empty() {
            return &[];
        }
        self.nominated.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn has_nominations(&self) -> bool {
        !self.nominated.is_empty()
    }

    /// The labels of a namespace.
    pub fn namespace_labels(&self, name: &str) -> &Labels {
        self.namespaces
            .get("", name)
            .map_or(&NO_LABELS, |namespace| labels::of(&namespace.metadata))
    }

    /// Number of placed pods that mount a claim.
    pub(crate) fn claim_users(&self, namespace: &str, name: &str) -> u32 {
        self.claim_users.get(&claim_key(namespace, name)).copied().unwrap_or_default()
    }

    /// Number of nodes that have an image.
    pub(crate) fn nodes_with_image(&self, image: &str) -> u32 {
        self.image_nodes.get(image).copied().unwrap_or_default()
    }

    /// The column of a node label.
    pub(crate) fn column(&self, key: &str) -> Cow<'_, Column> {
        self.topology.column(key, self.nodes.iter().flatten())
    }

    fn attach(&mut self, slot: Slot, info: Arc<PodInfo>) {
        self.groups.add(&info, slot);
        if let Some(node) = self.nodes[slot.index()].as_mut() {
            node.add_pod(info);
        }
    }

    fn note_images(&mut self, slot: Slot, present: bool) {
        let Some(info) = self.nodes[slot.index()].as_ref() else { return };
        for name in info.images.keys() {
            if present {
                *self.image_nodes.entry(Arc::clone(name)).or_default() += 1;
            } else if let Some(count) = self.image_nodes.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.image_nodes.remove(name);
                }
            }
        }
    }

    fn leave_zone(&mut self, slot: Slot, zone: &str) {
        if let Some(slots) = self.zones.get_mut(zone) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.zones.remove(zone);
            }
        }
    }

    /// Lets zones take turns, so that a search that stops early has seen all of them.
    fn reorder(&mut self) {
        self.order.clear();
        if let [only] = self.zones.values().collect::<Vec<_>>()[..] {
            self.order.extend_from_slice(only);
            return;
        }
        let longest = self.zones.values().map(Vec::len).max().unwrap_or_default();
        for turn in 0..longest {
            self.order.extend(self.zones.values().filter_map(|slots| slots.get(turn)));
        }
    }
}

fn claim_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// Region and zone together; nodes without either are one zone of their own.
fn zone_of(node: &Node) -> String {
    let labels = labels::of(&node.metadata);
    let label = |key: &str| labels.get(key).map(String::as_str).unwrap_or_default();
    format!("{}\n{}", label(REGION), label(ZONE))
}
