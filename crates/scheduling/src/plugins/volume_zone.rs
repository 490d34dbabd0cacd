//! VolumeZone: volumes that carry zone labels are mounted only in their zone.

use k8s_openapi::api::core::v1::PersistentVolume;

use super::{Row, volume_binding};
use crate::{
    event::Event,
    framework::{Cycle, FilterPlugin, NodeFilter, Plugin, Prepared, Rejection},
    labels,
    node::NodeInfo,
    pod::PodInfo,
    snapshot::{REGION, ZONE},
};

pub(super) const ROW: Row =
    Row { name: "VolumeZone", weight: 0, build: |_| Ok(Box::new(VolumeZone)) };

const REASON: &str = "node(s) had no available volume zone";
const BETA_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
const BETA_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const KEYS: [&str; 4] = [BETA_ZONE, BETA_REGION, ZONE, REGION];

#[derive(Debug)]
struct VolumeZone;

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn filter(&self) -> Option<&dyn FilterPlugin> {
        Some(self)
    }

    fn wakes(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        match event {
            Event::Claim(change) => {
                change.new.is_some_and(|claim| volume_binding::mounts(pod, claim))
            }
            Event::Volume(change) => change.differs(demands),
            Event::Class(change) => {
                change.is_added()
                    && change.new.is_some_and(|class| {
                        class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
                    })
            }
            event => event.node_labels_changed().is_some(),
        }
    }
}

/// A label of a volume and the values that a node may have for it.
type Demand = (&'static str, Vec<String>);

/// Zones are separated by two underscores.
fn demands(volume: &PersistentVolume) -> Vec<Demand> {
    let labels = labels::of(&volume.metadata);
    KEYS.iter()
        .filter_map(|key| {
            let values = labels.get(*key)?.split("__").map(str::trim).map(str::to_owned);
            let values: Vec<String> = values.collect();
            values.iter().all(|value| !value.is_empty()).then_some((*key, values))
        })
        .collect()
}

impl FilterPlugin for VolumeZone {
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        let (snapshot, pod) = (cycle.snapshot, cycle.pod);
        let mut all = Vec::new();
        for wanted in pod.claims.iter().filter(|claim| !claim.ephemeral) {
            let claim = snapshot.claims.get(pod.namespace(), &wanted.name);
            let claim = claim.ok_or_else(|| {
                Rejection::unresolvable(volume_binding::claim_not_found(&wanted.name))
            })?;
            match volume_binding::volume_of_claim(claim) {
                Some(name) => {
                    let volume = snapshot.volumes.get("", name).ok_or_else(|| {
                        Rejection::unresolvable(format!("persistentvolume {name:?} not found"))
                    })?;
                    all.extend(demands(volume));
                }
                None => must_wait(cycle, volume_binding::class_of_claim(claim))?,
            }
        }
        if all.is_empty() {
            return Ok(Prepared::Skip);
        }
        Ok(Prepared::Check(Box::new(Check(all))))
    }
}

/// A claim without a volume is fine only when its class waits for the pod.
fn must_wait(cycle: Cycle<'_>, class: &str) -> Result<(), Rejection> {
    if class.is_empty() {
        let text = "PersistentVolumeClaim had no pv name and storageClass name";
        return Err(Rejection::unresolvable(text));
    }
    let known = cycle.snapshot.classes.get("", class).ok_or_else(|| {
        Rejection::unresolvable(format!("storageclass.storage.k8s.io {class:?} not found"))
    })?;
    match known.volume_binding_mode.as_deref() {
        Some("WaitForFirstConsumer") => Ok(()),
        Some(_) => Err(Rejection::unresolvable("PersistentVolume had no name")),
        None => Err(Rejection::unresolvable(format!(
            "VolumeBindingMode not set for StorageClass {class:?}"
        ))),
    }
}

#[derive(Debug)]
struct Check(Vec<Demand>);

impl NodeFilter for Check {
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool {
        let labels = node.labels();
        if !KEYS.iter().any(|key| labels.contains_key(*key)) {
            return true;
        }
        let holds = |(key, values): &Demand| {
            let stable = match *key {
                BETA_ZONE => ZONE,
                BETA_REGION => REGION,
                key => key,
            };
            labels
                .get(*key)
                .or_else(|| labels.get(stable))
                .is_some_and(|value| values.contains(value))
        };
        self.0.iter().all(holds) || rejection.reject_for_good(REASON)
    }
}
