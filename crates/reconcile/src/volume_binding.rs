//! Which PersistentVolume a claim gets, and what both report. Volumes are only matched here: making them is
//! their provisioners' work.

use std::sync::Arc;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus,
};

use crate::{labels, pods};

/// Annotation: the claim's binding is complete on both sides.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Annotation: this side was bound by the controller, not by the user.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Annotation: the provisioner that a claim waits for.
pub const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// The class of a claim, as far as binding cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// Who makes volumes; empty or `kubernetes.io/no-provisioner` for nobody.
    pub provisioner: String,
    /// Whether binding waits for a pod to be placed.
    pub waits_for_consumer: bool,
}

/// What to do with a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimPlan {
    /// Nothing.
    Keep,
    /// Bind it to this volume: first the volume, then the claim.
    Bind(Box<PersistentVolume>, Box<PersistentVolumeClaim>),
    /// It has lost its volume.
    Lose,
    /// It waits; the reason and text of an event, and a provisioner to name on it.
    Wait {
        /// Reason of the event.
        reason: &'static str,
        /// Text of the event.
        message: String,
        /// Provisioner that is to be asked.
        provisioner: Option<String>,
    },
}

fn text(text: Option<&String>) -> &str {
    text.map_or("", String::as_str)
}

fn annotation<'a>(annotations: Option<&'a labels::Labels>, key: &str) -> Option<&'a String> {
    annotations.and_then(|annotations| annotations.get(key))
}

/// Whether a volume is reserved for, or bound to, a claim.
pub fn is_claimed_by(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    reference.is_some_and(|reference| {
        reference.name == claim.metadata.name
            && reference.namespace == claim.metadata.namespace
            && (text(reference.uid.as_ref()).is_empty() || reference.uid == claim.metadata.uid)
    })
}

/// Decides about a claim.
pub fn decide_claim(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    class: Option<&Class>,
) -> ClaimPlan {
    let spec = claim.spec.clone().unwrap_or_default();
    let wanted = text(spec.volume_name.as_ref());
    let completed = annotation(claim.metadata.annotations.as_ref(), BIND_COMPLETED).is_some();
    if !wanted.is_empty() {
        let named = volumes.iter().find(|v| v.metadata.name.as_deref() == Some(wanted));
        return decide_named(claim, named, completed);
    }
    if completed {
        return ClaimPlan::Lose;
    }
    let selected = annotation(claim.metadata.annotations.as_ref(), SELECTED_NODE).is_some();
    let delayed = class.is_some_and(|class| class.waits_for_consumer) && !selected;
    let found = best(claim, volumes).filter(|volume| !delayed || is_claimed_by(volume, claim));
    if let Some(volume) = found {
        return bind(claim, volume);
    }
    wait(claim, class, delayed)
}

fn decide_named(
    claim: &PersistentVolumeClaim,
    volume: Option<&Arc<PersistentVolume>>,
    completed: bool,
) -> ClaimPlan {
    let Some(volume) = volume else {
        return if completed { ClaimPlan::Lose } else { ClaimPlan::Keep };
    };
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    match reference {
        Some(_) if is_claimed_by(volume, claim) => bind(claim, volume),
        None if !completed => bind(claim, volume),
        _ if completed => ClaimPlan::Lose,
        _ => ClaimPlan::Keep,
    }
}

/// The smallest volume that fits; one reserved for the claim goes first.
fn best<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &'a [Arc<PersistentVolume>],
) -> Option<&'a Arc<PersistentVolume>> {
    let mut fitting: Vec<_> = volumes.iter().filter(|volume| fits(claim, volume)).collect();
    fitting.sort_by_key(|volume| {
        (!is_claimed_by(volume, claim), capacity(volume), volume.metadata.name.clone())
    });
    fitting.into_iter().next()
}

fn quantity(text: &str) -> Quantity {
    text.parse().unwrap_or(Quantity::ZERO)
}

fn capacity(volume: &PersistentVolume) -> Quantity {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    capacity.and_then(|c| c.get("storage")).map_or(Quantity::ZERO, |q| quantity(&q.0))
}

fn fits(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let (want, have) =
        (claim.spec.clone().unwrap_or_default(), volume.spec.clone().unwrap_or_default());
    if volume.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let free = have.claim_ref.is_none();
    if !free && !is_claimed_by(volume, claim) {
        return false;
    }
    let requests = want.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let asked = requests.and_then(|r| r.get("storage")).map_or(Quantity::ZERO, |q| quantity(&q.0));
    let modes = have.access_modes.unwrap_or_default();
    let mode = |mode: Option<&String>| match text(mode) {
        "Block" => "Block",
        _ => "Filesystem",
    };
    let class = text(want.storage_class_name.as_ref()) == text(have.storage_class_name.as_ref());
    let selected = want
        .selector
        .as_ref()
        .is_none_or(|selector| labels::matches(selector, volume.metadata.labels.as_ref()));
    capacity(volume) >= asked
        && class
        && selected
        && mode(want.volume_mode.as_ref()) == mode(have.volume_mode.as_ref())
        && want.access_modes.iter().flatten().all(|wanted| modes.contains(wanted))
}

/// Both sides as they are when bound; `Keep` when they are already.
fn bind(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> ClaimPlan {
    let (mut bound_volume, mut bound_claim) = (volume.clone(), claim.clone());
    let spec = bound_volume.spec.get_or_insert_default();
    if spec.claim_ref.is_none() {
        let annotations = bound_volume.metadata.annotations.get_or_insert_default();
        annotations.insert(BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
    }
    let reference = spec.claim_ref.get_or_insert_default();
    if reference.uid != claim.metadata.uid {
        *reference = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            namespace: claim.metadata.namespace.clone(),
            name: claim.metadata.name.clone(),
            uid: claim.metadata.uid.clone(),
            resource_version: claim.metadata.resource_version.clone(),
            field_path: None,
        };
    }
    let annotations = bound_claim.metadata.annotations.get_or_insert_default();
    annotations.insert(BIND_COMPLETED.to_owned(), "yes".to_owned());
    let claim_spec = bound_claim.spec.get_or_insert_default();
    if text(claim_spec.volume_name.as_ref()).is_empty() {
        annotations.insert(BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
        claim_spec.volume_name.clone_from(&volume.metadata.name);
    }
    let volume_spec = bound_volume.spec.as_ref();
    let old = claim.status.clone().unwrap_or_default();
    bound_claim.status = Some(PersistentVolumeClaimStatus {
        phase: Some("Bound".to_owned()),
        access_modes: volume_spec.and_then(|spec| spec.access_modes.clone()),
        // A claim that was bound once keeps its size: growing is the resizer's work.
        capacity: old.capacity.clone().or_else(|| volume_spec.and_then(|s| s.capacity.clone())),
        ..old
    });
    if bound_volume == *volume && bound_claim == *claim {
        return ClaimPlan::Keep;
    }
    ClaimPlan::Bind(Box::new(bound_volume), Box::new(bound_claim))
}

fn wait(claim: &PersistentVolumeClaim, class: Option<&Class>, delayed: bool) -> ClaimPlan {
    let spec = claim.spec.clone().unwrap_or_default();
    let name = text(spec.storage_class_name.as_ref());
    if delayed {
        return ClaimPlan::Wait {
            reason: "WaitForFirstConsumer",
            message: "waiting for first consumer to be created before binding".to_owned(),
            provisioner: None,
        };
    }
    let provisioner = class.map_or("", |class| class.provisioner.as_str());
    if name.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return ClaimPlan::Wait {
            reason: "FailedBinding",
            message: message.to_owned(),
            provisioner: None,
        };
    }
    match (class, provisioner) {
        (None, _) => ClaimPlan::Wait {
            reason: "ProvisioningFailed",
            message: format!("storageclass.storage.k8s.io \"{name}\" not found"),
            provisioner: None,
        },
        (Some(_), "" | "kubernetes.io/no-provisioner") => ClaimPlan::Wait {
            reason: "FailedBinding",
            message: "no persistent volumes available for this claim and no storage class is set"
                .to_owned(),
            provisioner: None,
        },
        (Some(_), provisioner) => ClaimPlan::Wait {
            reason: "ExternalProvisioning",
            message: format!(
                "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
            ),
            provisioner: Some(provisioner.to_owned()),
        },
    }
}

/// The phase of a volume. `claim` is the one that its reference names, if it is there.
pub fn phase(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> &'static str {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let Some(reference) = reference else { return "Available" };
    let uid = text(reference.uid.as_ref());
    if uid.is_empty() {
        return "Available";
    }
    match claim {
        Some(claim) if pods::uid(&claim.metadata) == uid => "Bound",
        _ => "Released",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim(spec: Value, annotations: Value) -> PersistentVolumeClaim {
        let mut full = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": {"requests": {"storage": "2Gi"}}});
        for (key, value) in spec.as_object().unwrap() {
            full[key] = value.clone();
        }
        serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "n", "uid": "cu",
            "annotations": annotations}, "spec": full}))
        .unwrap()
    }

    fn volume(name: &str, size: &str, extra: Value) -> Arc<PersistentVolume> {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}});
        for (key, value) in extra.as_object().unwrap() {
            spec[key] = value.clone();
        }
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap())
    }

    fn bound_to(plan: &ClaimPlan) -> Option<&str> {
        match plan {
            ClaimPlan::Bind(volume, _) => volume.metadata.name.as_deref(),
            _ => None,
        }
    }

    #[test]
    fn a_claim_gets_the_smallest_volume_that_fits() {
        let reserved = json!({"claimRef": {"namespace": "n", "name": "c"}});
        let taken = json!({"claimRef": {"namespace": "n", "name": "other", "uid": "x"}});
        let cases = [
            (vec![volume("big", "10Gi", json!({})), volume("fit", "3Gi", json!({}))], Some("fit")),
            (vec![volume("small", "1Gi", json!({}))], None),
            (vec![volume("fit", "3Gi", json!({})), volume("mine", "9Gi", reserved)], Some("mine")),
            (vec![volume("taken", "3Gi", taken)], None),
            (vec![volume("class", "3Gi", json!({"storageClassName": "fast"}))], None),
            (vec![volume("block", "3Gi", json!({"volumeMode": "Block"}))], None),
            (vec![volume("mode", "3Gi", json!({"accessModes": ["ReadOnlyMany"]}))], None),
            (vec![], None),
        ];
        for (volumes, expected) in cases {
            let plan = decide_claim(&claim(json!({}), json!({})), &volumes, None);
            assert_eq!(bound_to(&plan), expected, "{volumes:?}");
        }
    }

    #[test]
    fn binding_is_done_once_and_loss_is_noticed() {
        let volumes = [volume("v", "3Gi", json!({}))];
        let plan = decide_claim(&claim(json!({}), json!({})), &volumes, None);
        let ClaimPlan::Bind(bound_volume, bound_claim) = plan else { panic!("{plan:?}") };
        assert_eq!(phase(&bound_volume, Some(&bound_claim)), "Bound");
        assert_eq!(phase(&bound_volume, None), "Released");
        assert_eq!(phase(&volumes[0], None), "Available");
        let again = decide_claim(&bound_claim, &[Arc::new(*bound_volume)], None);
        assert_eq!(again, ClaimPlan::Keep);
        assert_eq!(decide_claim(&bound_claim, &[], None), ClaimPlan::Lose);
    }

    #[test]
    fn a_claim_that_waits_says_for_what() {
        let wait = |class: Option<&Class>| {
            let plan =
                decide_claim(&claim(json!({"storageClassName": "s"}), json!({})), &[], class);
            match plan {
                ClaimPlan::Wait { reason, .. } => reason,
                other => panic!("{other:?}"),
            }
        };
        let class = |provisioner: &str, waits_for_consumer| Class {
            provisioner: provisioner.into(),
            waits_for_consumer,
        };
        assert_eq!(wait(None), "ProvisioningFailed");
        assert_eq!(wait(Some(&class("x.csi", false))), "ExternalProvisioning");
        assert_eq!(wait(Some(&class("x.csi", true))), "WaitForFirstConsumer");
        assert_eq!(wait(Some(&class("kubernetes.io/no-provisioner", false))), "FailedBinding");
    }
}
