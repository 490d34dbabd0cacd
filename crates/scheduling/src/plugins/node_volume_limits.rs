//! NodeVolumeLimits: a CSI driver attaches only so many volumes to a node.
//!
//! Volumes of in-tree drivers that upstream translates to CSI are not counted.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::CSINode};

use super::{Row, volume_binding};
use crate::{
    Snapshot,
    event::Event,
    framework::{Cycle, FilterPlugin, NodeFilter, Plugin, Prepared, Rejection},
    node::NodeInfo,
    pod::PodInfo,
};

pub(super) const ROW: Row =
    Row { name: "NodeVolumeLimits", weight: 0, build: |_| Ok(Box::new(NodeVolumeLimits)) };

const REASON: &str = "node(s) exceed max volume count";

#[derive(Debug)]
struct NodeVolumeLimits;

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn filter(&self) -> Option<&dyn FilterPlugin> {
        Some(self)
    }

    fn wakes(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        match event {
            Event::CsiNode(change) => change.new.is_some(),
            Event::AssignedPod(change) => {
                change.deleted().is_some_and(|gone| !gone.claims.is_empty())
            }
            Event::Claim(change) => {
                change.is_added()
                    && change.new.is_some_and(|claim| volume_binding::mounts(pod, claim))
            }
            Event::Attachment(change) => change.deleted().is_some(),
            _ => false,
        }
    }
}

/// A driver and what it calls the volume.
type Attached = (String, String);

impl FilterPlugin for NodeVolumeLimits {
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        let (snapshot, pod) = (cycle.snapshot, cycle.pod);
        if pod.claims.is_empty() {
            return Ok(Prepared::Skip);
        }
        for wanted in &pod.claims {
            if snapshot.claims.get(pod.namespace(), &wanted.name).is_none() {
                let missing = volume_binding::claim_not_found(&wanted.name);
                let place = format!("{}/{}", pod.namespace(), wanted.name);
                return Err(Rejection::unresolvable(format!("looking up PVC {place}: {missing}")));
            }
        }
        let wanted = volumes_of(snapshot, pod);
        if wanted.is_empty() {
            return Ok(Prepared::Skip);
        }
        Ok(Prepared::Check(Box::new(Check { snapshot, wanted, attached: attachments(snapshot) })))
    }
}

fn volumes_of(snapshot: &Snapshot, pod: &PodInfo) -> HashSet<Attached> {
    let claims =
        pod.claims.iter().filter_map(|claim| snapshot.claims.get(pod.namespace(), &claim.name));
    claims.filter_map(|claim| driver_and_handle(snapshot, claim)).collect()
}

/// A claim without a volume counts under a handle of its own, for the driver that will make it.
fn driver_and_handle(snapshot: &Snapshot, claim: &PersistentVolumeClaim) -> Option<Attached> {
    let volume =
        volume_binding::volume_of_claim(claim).and_then(|name| snapshot.volumes.get("", name));
    if let Some(volume) = volume {
        let source = volume.spec.as_ref()?.csi.as_ref()?;
        return Some((source.driver.clone(), source.volume_handle.clone()));
    }
    let class = snapshot.classes.get("", volume_binding::class_of_claim(claim))?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let handle =
        format!("claim {}/{}", text(&claim.metadata.namespace), text(&claim.metadata.name));
    Some((class.provisioner.clone(), handle))
}

fn attachments(snapshot: &Snapshot) -> HashMap<String, HashSet<Attached>> {
    let mut by_node: HashMap<String, HashSet<Attached>> = HashMap::new();
    for attachment in snapshot.attachments.iter() {
        let spec = &attachment.spec;
        let volume = spec.source.persistent_volume_name.as_deref();
        let volume = volume.and_then(|name| snapshot.volumes.get("", name));
        let source = volume.and_then(|volume| volume.spec.as_ref()?.csi.as_ref());
        if let Some(source) = source.filter(|_| !spec.attacher.is_empty()) {
            let attached = (spec.attacher.clone(), source.volume_handle.clone());
            by_node.entry(spec.node_name.clone()).or_default().insert(attached);
        }
    }
    by_node
}

fn limits(node: &CSINode) -> impl Iterator<Item = (&str, usize)> {
    node.spec.drivers.iter().filter_map(|driver| {
        let count = driver.allocatable.as_ref()?.count?;
        Some((driver.name.as_str(), usize::try_from(count).unwrap_or_default()))
    })
}

#[derive(Debug)]
struct Check<'a> {
    snapshot: &'a Snapshot,
    wanted: HashSet<Attached>,
    attached: HashMap<String, HashSet<Attached>>,
}

impl NodeFilter for Check<'_> {
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool {
        let Some(csi_node) = self.snapshot.csi_nodes.get("", node.name()) else { return true };
        let mut used = self.attached.get(node.name()).cloned().unwrap_or_default();
        let mut mounted = HashSet::new();
        for pod in node.pods.iter().filter(|pod| !pod.claims.is_empty()) {
            mounted.extend(volumes_of(self.snapshot, pod));
        }
        let new = |driver: &str| {
            self.wanted.iter().filter(|it| it.0 == driver && !mounted.contains(*it)).count()
        };
        used.extend(mounted.iter().cloned());
        let fits = limits(csi_node).all(|(driver, limit)| {
            let new = new(driver);
            let present = used.iter().filter(|(other, _)| other == driver).count();
            new == 0 || present + new <= limit
        });
        fits || rejection.reject(REASON)
    }
}
