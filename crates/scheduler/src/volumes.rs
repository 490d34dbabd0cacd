//! Claims and volumes as they are to be written before a pod is bound.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use scheduling::plugins::volume_binding::{BIND_COMPLETED, SELECTED_NODE, VolumePlan};

const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// The plan with its objects as they will be.
pub(crate) fn assumed(plan: &VolumePlan, node: &str) -> VolumePlan {
    let bindings = plan.bindings.iter();
    let provisions = plan.provisions.iter();
    VolumePlan {
        bindings: bindings
            .map(|(volume, claim)| (bound(volume, claim), Arc::clone(claim)))
            .collect(),
        provisions: provisions.map(|claim| selected(claim, node)).collect(),
    }
}

fn bound(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Arc<PersistentVolume> {
    let mut volume = volume.clone();
    let spec = volume.spec.get_or_insert_default();
    if spec.claim_ref.is_none() {
        let annotations = volume.metadata.annotations.get_or_insert_default();
        annotations.insert(BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
    }
    spec.claim_ref = Some(ObjectReference {
        kind: Some("PersistentVolumeClaim".to_owned()),
        api_version: Some("v1".to_owned()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        field_path: None,
    });
    Arc::new(volume)
}

fn selected(claim: &PersistentVolumeClaim, node: &str) -> Arc<PersistentVolumeClaim> {
    let mut claim = claim.clone();
    let annotations = claim.metadata.annotations.get_or_insert_default();
    annotations.insert(SELECTED_NODE.to_owned(), node.to_owned());
    Arc::new(claim)
}

/// Whether the volume controller has bound `claim`.
pub(crate) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    let annotations = claim.metadata.annotations.as_ref();
    named.is_some_and(|name| !name.is_empty())
        && annotations.is_some_and(|annotations| annotations.contains_key(BIND_COMPLETED))
}

/// The node that `claim` is to be provisioned for.
pub(crate) fn selected_node(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.metadata.annotations.as_ref()?.get(SELECTED_NODE).map(String::as_str)
}
