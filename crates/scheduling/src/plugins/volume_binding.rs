//! VolumeBinding: claims must be bound to volumes that the node reaches, or be bindable there.
//!
//! Filtering only asks whether it can work. [`plan`] says what has to be written for the chosen node;
//! the scheduler's loop writes it.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm},
        storage::v1::{CSIStorageCapacity, StorageClass},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::Row;
use crate::{
    Snapshot,
    event::Event,
    framework::{Cycle, FilterPlugin, NodeFilter, Plugin, Prepared, Rejection},
    labels::{self, Labels, NodeSelector, Selector},
    node::NodeInfo,
    pod::PodInfo,
    quantity::Quantity,
};

pub(super) const ROW: Row =
    Row { name: "VolumeBinding", weight: 0, build: |_| Ok(Box::new(VolumeBinding)) };

/// On a claim: the node that its volume is to be made for.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On a claim: the volume controller has finished binding it.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

const REASON_IMMEDIATE: &str = "pod has unbound immediate PersistentVolumeClaims";
const REASON_BIND: &str = "node(s) didn't find available persistent volumes to bind";
const REASON_NODE: &str = "node(s) had volume node affinity conflict";
const REASON_SPACE: &str = "node(s) did not have enough free storage";
const REASON_NO_VOLUME: &str =
    "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

#[derive(Debug)]
struct VolumeBinding;

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn filter(&self) -> Option<&dyn FilterPlugin> {
        Some(self)
    }

    fn wakes(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        match event {
            Event::Claim(change) => change.new.is_some_and(|claim| mounts(pod, claim)),
            Event::Volume(change) => change.new.is_some(),
            Event::Class(change) => change.differs(|class| class.allowed_topologies.clone()),
            Event::Node(_) => event.node_labels_changed().is_some(),
            Event::CsiNode(change) => change.is_added(),
            Event::CsiDriver(change) => {
                let tracks = |driver: &k8s_openapi::api::storage::v1::CSIDriver| {
                    driver.spec.storage_capacity == Some(true)
                };
                change.old.is_some_and(tracks) && change.new.is_some_and(|driver| !tracks(driver))
            }
            Event::Capacity(change) => {
                change.differs(|it| (it.capacity.clone(), it.maximum_volume_size.clone()))
            }
            _ => false,
        }
    }
}

/// Whether `pod` mounts `claim`.
pub(super) fn mounts(pod: &PodInfo, claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.namespace.as_deref().unwrap_or_default() == pod.namespace()
        && pod.claims.iter().any(|it| Some(it.name.as_str()) == claim.metadata.name.as_deref())
}

/// The name of a claim's or volume's class, empty for none.
pub(super) fn class_name<'a>(metadata: &'a ObjectMeta, class: Option<&'a String>) -> &'a str {
    let annotations = metadata.annotations.as_ref();
    let beta = annotations.and_then(|annotations| annotations.get(BETA_CLASS));
    beta.or(class).map(String::as_str).unwrap_or_default()
}

/// The name of a claim's class, empty for none.
pub(super) fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    class_name(&claim.metadata, class)
}

/// The volume that a claim names.
pub(super) fn volume_of_claim(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// Upstream's words for a claim that is not there.
pub(super) fn claim_not_found(name: &str) -> String {
    format!("persistentvolumeclaim {name:?} not found")
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// What is to be written so that the pod's claims are bound on its node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VolumePlan {
    /// Volumes to bind to claims.
    pub bindings: Vec<(Arc<PersistentVolume>, Arc<PersistentVolumeClaim>)>,
    /// Claims whose volume is to be made for the node.
    pub provisions: Vec<Arc<PersistentVolumeClaim>>,
}

impl VolumePlan {
    /// Whether all claims are bound already.
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.provisions.is_empty()
    }
}

/// What has to be written for `pod` to mount its claims on `node`.
pub fn plan(cycle: Cycle<'_>, node: &NodeInfo) -> Result<VolumePlan, Rejection> {
    let Some(claims) = Claims::of(cycle)? else { return Ok(VolumePlan::default()) };
    let mut rejection = Rejection::default();
    claims.find(node, &mut rejection).ok_or(rejection)
}

/// The claims of a pod by what is left to do.
#[derive(Debug)]
struct Claims<'a> {
    snapshot: &'a Snapshot,
    bound: Vec<Arc<PersistentVolumeClaim>>,
    delayed: Vec<Arc<PersistentVolumeClaim>>,
    /// Candidate volumes by class.
    volumes: HashMap<String, Vec<Arc<PersistentVolume>>>,
}

impl FilterPlugin for VolumeBinding {
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        Ok(match Claims::of(cycle)? {
            None => Prepared::Skip,
            Some(claims) => Prepared::Check(Box::new(claims)),
        })
    }
}

impl<'a> Claims<'a> {
    fn of(cycle: Cycle<'a>) -> Result<Option<Self>, Rejection> {
        let (snapshot, pod) = (cycle.snapshot, cycle.pod);
        if pod.claims.is_empty() {
            return Ok(None);
        }
        let mut claims =
            Self { snapshot, bound: Vec::new(), delayed: Vec::new(), volumes: HashMap::new() };
        let mut immediate = false;
        for claim in usable_claims(snapshot, pod)? {
            let volume = volume_of_claim(&claim);
            if volume.is_some() && annotation(&claim.metadata, BIND_COMPLETED).is_some() {
                claims.bound.push(claim);
            } else if volume.is_none() && waits_for_pod(snapshot, &claim)? {
                claims.delayed.push(claim);
            } else {
                immediate = true;
            }
        }
        if immediate {
            return Err(Rejection::unresolvable(REASON_IMMEDIATE));
        }
        claims.gather_volumes();
        Ok(Some(claims))
    }

    fn gather_volumes(&mut self) {
        // The smallest claim first, so that it does not take a volume that a larger one needs.
        self.delayed.sort_by_key(|claim| requested_bytes(claim));
        for class in self.delayed.iter().map(|claim| class_of_claim(claim).to_owned()) {
            let volumes = self.snapshot.volumes.iter();
            let of_class =
                volumes.filter(|volume| class_of_volume(volume) == class).map(Arc::clone);
            self.volumes.entry(class.clone()).or_insert_with(|| of_class.collect());
        }
    }

    /// What to write for `node`, or the reasons why it cannot work there.
    fn find(&self, node: &NodeInfo, rejection: &mut Rejection) -> Option<VolumePlan> {
        let mut plan = VolumePlan::default();
        let bound = self.bound_claims_reach(node);
        let delayed = self.bind_delayed(node, &mut plan);
        match bound {
            Some(REASON_NODE) => rejection.reject_for_good(REASON_NODE),
            _ => true,
        };
        if let Some(reason) = delayed {
            rejection.reject_for_good(reason);
        }
        if bound == Some(REASON_NO_VOLUME) {
            rejection.reject_for_good(REASON_NO_VOLUME);
        }
        (bound.is_none() && delayed.is_none()).then_some(plan)
    }

    fn bound_claims_reach(&self, node: &NodeInfo) -> Option<&'static str> {
        for claim in &self.bound {
            let volume =
                volume_of_claim(claim).and_then(|name| self.snapshot.volumes.get("", name));
            match volume {
                None => return Some(REASON_NO_VOLUME),
                Some(volume) if !reaches(volume, node) => return Some(REASON_NODE),
                Some(_) => {}
            }
        }
        None
    }

    fn bind_delayed(&self, node: &NodeInfo, plan: &mut VolumePlan) -> Option<&'static str> {
        for claim in &self.delayed {
            match annotation(&claim.metadata, SELECTED_NODE) {
                Some(selected) if selected != node.name() => return Some(REASON_BIND),
                Some(_) => plan.provisions.push(Arc::clone(claim)),
                None => match self.find_volume(claim, node, &plan.bindings) {
                    Some(volume) => plan.bindings.push((volume, Arc::clone(claim))),
                    None => plan.provisions.push(Arc::clone(claim)),
                },
            }
        }
        plan.provisions.iter().find_map(|claim| self.cannot_provision(claim, node))
    }

    /// The smallest volume that serves `claim` on `node` and is not taken.
    fn find_volume(
        &self,
        claim: &PersistentVolumeClaim,
        node: &NodeInfo,
        taken: &[(Arc<PersistentVolume>, Arc<PersistentVolumeClaim>)],
    ) -> Option<Arc<PersistentVolume>> {
        let requested = requested_bytes(claim);
        let spec = claim.spec.as_ref()?;
        let selector = spec.selector.as_ref();
        let selector = match selector {
            None => Selector::everything(),
            Some(selector) => {
                Selector::compile(Some(selector)).unwrap_or_else(|_| Selector::nothing())
            }
        };
        let mut smallest: Option<(i64, &Arc<PersistentVolume>)> = None;
        for volume in self.volumes.get(class_of_claim(claim))? {
            let name = &volume.metadata.name;
            let size = capacity_bytes(volume);
            let unusable = taken.iter().any(|(other, _)| other.metadata.name == *name)
                || size < requested
                || volume.metadata.deletion_timestamp.is_some()
                || !same_mode(volume, claim);
            if unusable {
                continue;
            }
            match reserved_for(volume, claim) {
                Some(true) => return reaches(volume, node).then(|| Arc::clone(volume)),
                Some(false) => continue,
                None => {}
            }
            let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
            let fits = phase == Some("Available")
                && selector.matches(labels::of(&volume.metadata))
                && reaches(volume, node)
                && offers_modes(volume, claim);
            if fits && smallest.is_none_or(|(best, _)| size < best) {
                smallest = Some((size, volume));
            }
        }
        smallest.map(|(_, volume)| Arc::clone(volume))
    }

    fn cannot_provision(
        &self,
        claim: &PersistentVolumeClaim,
        node: &NodeInfo,
    ) -> Option<&'static str> {
        let class = self.snapshot.classes.get("", class_of_claim(claim));
        let Some(class) = class else { return Some(REASON_BIND) };
        let provisioner = class.provisioner.as_str();
        let reachable =
            allowed(class.allowed_topologies.as_deref().unwrap_or_default(), node.labels());
        if provisioner.is_empty() || provisioner == NO_PROVISIONER || !reachable {
            return Some(REASON_BIND);
        }
        (!self.has_space(claim, class, node)).then_some(REASON_SPACE)
    }

    /// Whether some storage that the node reaches has room; drivers that do not say are trusted.
    fn has_space(
        &self,
        claim: &PersistentVolumeClaim,
        class: &StorageClass,
        node: &NodeInfo,
    ) -> bool {
        let driver = self.snapshot.csi_drivers.get("", &class.provisioner);
        if driver.is_none_or(|driver| driver.spec.storage_capacity != Some(true)) {
            return true;
        }
        let requested = requested_bytes(claim);
        self.snapshot.capacities.iter().any(|capacity| {
            Some(&capacity.storage_class_name) == class.metadata.name.as_ref()
                && limit_bytes(capacity).is_some_and(|limit| limit >= requested)
                && serves(capacity, node.labels())
        })
    }
}

impl NodeFilter for Claims<'_> {
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool {
        self.find(node, rejection).is_some()
    }
}

/// The claims that the pod mounts, or why they cannot be mounted at all.
fn usable_claims(
    snapshot: &Snapshot,
    pod: &PodInfo,
) -> Result<Vec<Arc<PersistentVolumeClaim>>, Rejection> {
    let usable = pod.claims.iter().map(|wanted| {
        let name = &wanted.name;
        let claim = snapshot.claims.get(pod.namespace(), name).ok_or_else(|| {
            if wanted.ephemeral {
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
            } else {
                claim_not_found(name)
            }
        })?;
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase == Some("Lost") {
            let volume = volume_of_claim(claim).unwrap_or_default();
            return Err(format!(
                "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
            ));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        if wanted.ephemeral && !pod.owns(claim.metadata.owner_references.as_ref()) {
            return Err(format!(
                "PVC {}/{name} was not created for pod {}/{} (pod is not owner)",
                pod.namespace(),
                pod.namespace(),
                pod.name()
            ));
        }
        Ok(Arc::clone(claim))
    });
    usable.collect::<Result<_, String>>().map_err(Rejection::unresolvable)
}

fn waits_for_pod(snapshot: &Snapshot, claim: &PersistentVolumeClaim) -> Result<bool, Rejection> {
    let name = class_of_claim(claim);
    let Some(class) = snapshot.classes.get("", name) else { return Ok(false) };
    match class.volume_binding_mode.as_deref() {
        None => Err(Rejection::unresolvable(format!(
            "VolumeBindingMode not set for StorageClass {name:?}"
        ))),
        Some(mode) => Ok(mode == "WaitForFirstConsumer"),
    }
}

fn class_of_volume(volume: &PersistentVolume) -> &str {
    let class = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    class_name(&volume.metadata, class)
}

fn storage_bytes(
    list: Option<
        &std::collections::BTreeMap<
            String,
            k8s_openapi::apimachinery::pkg::api::resource::Quantity,
        >,
    >,
) -> i64 {
    let storage = list.and_then(|list| list.get("storage"));
    storage.and_then(|quantity| Quantity::of(quantity).ok()).unwrap_or_default().value()
}

fn requested_bytes(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    storage_bytes(resources.and_then(|resources| resources.requests.as_ref()))
}

fn capacity_bytes(volume: &PersistentVolume) -> i64 {
    storage_bytes(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()))
}

fn limit_bytes(capacity: &CSIStorageCapacity) -> Option<i64> {
    let limit = capacity.maximum_volume_size.as_ref().or(capacity.capacity.as_ref())?;
    Quantity::of(limit).ok().map(Quantity::value)
}

fn serves(capacity: &CSIStorageCapacity, node: &Labels) -> bool {
    Selector::compile(capacity.node_topology.as_ref()).is_ok_and(|selector| selector.matches(node))
}

fn same_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let mode = |mode: Option<&String>| mode.map_or("Filesystem", String::as_str).to_owned();
    let of_volume = volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref());
    let of_claim = claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref());
    mode(of_volume) == mode(of_claim)
}

fn offers_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let offered =
        volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    let wanted =
        claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    wanted.iter().all(|mode| offered.contains(mode))
}

/// Whether a volume is set aside for `claim`; `None` when for nobody.
fn reserved_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<bool> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let uid = reference.uid.as_deref().unwrap_or_default();
    Some(
        reference.name == claim.metadata.name
            && reference.namespace == claim.metadata.namespace
            && (uid.is_empty() || Some(uid) == claim.metadata.uid.as_deref()),
    )
}

fn reaches(volume: &PersistentVolume, node: &NodeInfo) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|selector| NodeSelector::compile(selector).matches(&node.node))
}

fn allowed(terms: &[TopologySelectorTerm], labels: &Labels) -> bool {
    terms.is_empty()
        || terms.iter().any(|term| {
            let expressions = term.match_label_expressions.as_deref().unwrap_or_default();
            !expressions.is_empty()
                && expressions.iter().all(|expression| {
                    labels
                        .get(&expression.key)
                        .is_some_and(|value| expression.values.contains(value))
                })
        })
}
