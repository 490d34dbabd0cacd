//! What becomes of claims when the set shrinks or goes: decided by who owns them.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::identity;
use crate::pods;

fn policy(set: &StatefulSet) -> (bool, bool) {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
    (
        deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
        deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
    )
}

fn pod_reference(pod: &Pod) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pods::name(pod).to_owned(),
        uid: pods::uid(&pod.metadata).to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The claim with its owners put right; `None` when they are, or when another controller has it.
pub fn owned(
    set: &StatefulSet,
    pod: &Pod,
    ordinal: i32,
    claim: &PersistentVolumeClaim,
) -> Option<PersistentVolumeClaim> {
    let (set_uid, pod_uid) = (pods::uid(&set.metadata), pods::uid(&pod.metadata));
    let have = claim.metadata.owner_references.clone().unwrap_or_default();
    let foreign = |owner: &OwnerReference| {
        owner.controller == Some(true) && owner.uid != set_uid && owner.uid != pod_uid
    };
    if have.iter().any(foreign) {
        return None;
    }
    let (when_scaled, when_deleted) = policy(set);
    let leaves = !identity::in_range(set, ordinal);
    let by_pod = when_scaled && leaves;
    let by_set = when_deleted && !by_pod;
    let mut wanted: Vec<OwnerReference> =
        have.iter().filter(|o| o.uid != set_uid && o.uid != pod_uid).cloned().collect();
    if by_set {
        wanted.push(identity::reference(set));
    }
    if by_pod {
        wanted.push(pod_reference(pod));
    }
    let uids = |owners: &[OwnerReference]| {
        let mut uids: Vec<String> = owners.iter().map(|owner| owner.uid.clone()).collect();
        uids.sort();
        uids
    };
    if uids(&have) == uids(&wanted) {
        return None;
    }
    let mut fixed = claim.clone();
    fixed.metadata.owner_references = (!wanted.is_empty()).then_some(wanted);
    Some(fixed)
}

/// Whether a claim still belongs to an earlier pod of the same name, and will go with it.
pub fn is_stale(set: &StatefulSet, claim: &PersistentVolumeClaim, pod: &str) -> bool {
    let owners = claim.metadata.owner_references.iter().flatten();
    policy(set).0 && owners.into_iter().any(|owner| owner.kind == "Pod" && owner.name == pod)
}
