//! VolumeRestrictions: disks that only one pod may mount, and claims that only one pod may use.

use k8s_openapi::api::core::v1::Volume;

use super::{Row, volume_binding};
use crate::{
    event::Event,
    framework::{Cycle, FilterPlugin, NodeFilter, Plugin, Prepared, Rejection},
    node::NodeInfo,
    pod::PodInfo,
};

pub(super) const ROW: Row =
    Row { name: "VolumeRestrictions", weight: 0, build: |_| Ok(Box::new(VolumeRestrictions)) };

const REASON_DISK: &str = "node(s) had no available disk";
const REASON_ONCE: &str = "node has pod using PersistentVolumeClaim with the same name and \
                           ReadWriteOncePod access mode";

#[derive(Debug)]
struct VolumeRestrictions;

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn filter(&self) -> Option<&dyn FilterPlugin> {
        Some(self)
    }

    fn wakes(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        match event {
            Event::AssignedPod(change) => change.deleted().is_some_and(|gone| {
                gone.namespace() == pod.namespace()
                    && (conflict(pod.volumes(), gone)
                        || gone.claims.iter().any(|claim| pod.claims.contains(claim)))
            }),
            Event::Node(change) => change.is_added(),
            Event::Claim(change) => {
                change.is_added()
                    && change.new.is_some_and(|claim| volume_binding::mounts(pod, claim))
            }
            _ => false,
        }
    }
}

impl FilterPlugin for VolumeRestrictions {
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        let pod = cycle.pod;
        let mut once = Vec::new();
        for wanted in pod.claims.iter().filter(|claim| !claim.ephemeral) {
            let claim = cycle.snapshot.claims.get(pod.namespace(), &wanted.name);
            let claim = claim.ok_or_else(|| {
                Rejection::unresolvable(volume_binding::claim_not_found(&wanted.name))
            })?;
            let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref());
            if modes.unwrap_or_default().iter().any(|mode| mode == "ReadWriteOncePod") {
                once.push(wanted.name.as_str());
            }
        }
        let used = once.iter().filter(|name| cycle.snapshot.claim_users(pod.namespace(), name) > 0);
        let conflicts = i64::try_from(used.count()).unwrap_or(i64::MAX);
        let disks: Vec<&Volume> =
            pod.volumes().iter().filter(|volume| is_restricted(volume)).collect();
        if disks.is_empty() && conflicts == 0 {
            return Ok(Prepared::Skip);
        }
        let has_disks = !disks.is_empty();
        Ok(Prepared::Check(Box::new(Check { pod, has_disks, once, conflicts })))
    }
}

#[derive(Debug)]
struct Check<'a> {
    pod: &'a PodInfo,
    has_disks: bool,
    /// Claims of the pod that only one pod may use.
    once: Vec<&'a str>,
    /// How many uses by other pods there are.
    conflicts: i64,
}

impl NodeFilter for Check<'_> {
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool {
        if self.has_disks && node.pods.iter().any(|other| conflict(self.pod.volumes(), other)) {
            return rejection.reject(REASON_DISK);
        }
        self.conflicts == 0 || rejection.reject(REASON_ONCE)
    }

    fn update(&mut self, pod: &PodInfo, _node: &NodeInfo, change: i64) {
        if pod.namespace() != self.pod.namespace() {
            return;
        }
        let uses = pod.claims.iter().filter(|claim| self.once.contains(&claim.name.as_str()));
        self.conflicts += change * i64::try_from(uses.count()).unwrap_or(i64::MAX);
    }
}

fn is_restricted(volume: &Volume) -> bool {
    volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.rbd.is_some()
        || volume.iscsi.is_some()
}

fn conflict(wanted: &[Volume], other: &PodInfo) -> bool {
    let wanted = wanted.iter().filter(|volume| is_restricted(volume));
    wanted.into_iter().any(|wanted| other.volumes().iter().any(|taken| collides(wanted, taken)))
}

/// Whether both are the same disk, and not both only read it.
fn collides(left: &Volume, right: &Volume) -> bool {
    let both_read =
        |left: Option<bool>, right: Option<bool>| left == Some(true) && right == Some(true);
    if let (Some(left), Some(right)) = (&left.gce_persistent_disk, &right.gce_persistent_disk) {
        return left.pd_name == right.pd_name && !both_read(left.read_only, right.read_only);
    }
    if let (Some(left), Some(right)) =
        (&left.aws_elastic_block_store, &right.aws_elastic_block_store)
    {
        return left.volume_id == right.volume_id;
    }
    if let (Some(left), Some(right)) = (&left.iscsi, &right.iscsi) {
        return left.iqn == right.iqn && !both_read(left.read_only, right.read_only);
    }
    if let (Some(left), Some(right)) = (&left.rbd, &right.rbd) {
        let pool = |pool: &Option<String>| pool.clone().unwrap_or_else(|| "rbd".to_owned());
        return left.monitors.iter().any(|monitor| right.monitors.contains(monitor))
            && pool(&left.pool) == pool(&right.pool)
            && left.image == right.image
            && !both_read(left.read_only, right.read_only);
    }
    false
}
