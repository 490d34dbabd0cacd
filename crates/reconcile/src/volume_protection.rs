//! When claims and volumes are kept from going: while something uses them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::pods;

/// Finalizer of claims.
pub const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
/// Finalizer of volumes.
pub const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// What to do with the finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Keep,
    /// Add it.
    Protect,
    /// Remove it.
    Release,
}

/// Names of the claims that a pod uses, those made for it included.
pub fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| match &volume.persistent_volume_claim {
            Some(source) => Some(source.claim_name.clone()),
            None => {
                volume.ephemeral.as_ref().map(|_| format!("{}-{}", pods::name(pod), volume.name))
            }
        })
        .collect()
}

fn decide(metadata: &ObjectMeta, finalizer: &str, is_used: impl Fn() -> bool) -> Action {
    let protected = metadata.finalizers.iter().flatten().any(|have| have == finalizer);
    match (metadata.deletion_timestamp.is_some(), protected) {
        (false, false) => Action::Protect,
        (true, true) if !is_used() => Action::Release,
        _ => Action::Keep,
    }
}

/// Decides about a claim. Pods without a node do not use it: they will not be started any more.
pub fn decide_claim(claim: &PersistentVolumeClaim, pods: &[Arc<Pod>]) -> Action {
    let name = claim.metadata.name.clone().unwrap_or_default();
    decide(&claim.metadata, CLAIM_FINALIZER, || {
        pods.iter().any(|pod| !pods::node(pod).is_empty() && claims_of(pod).contains(&name))
    })
}

/// Decides about a volume.
pub fn decide_volume(volume: &PersistentVolume) -> Action {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    decide(&volume.metadata, VOLUME_FINALIZER, || phase == Some("Bound"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_used_stays() {
        let claim = |deleted: bool, protected: bool| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"metadata": {"name": "c",
                "deletionTimestamp": deleted.then_some("2026-01-01T00:00:00Z"),
                "finalizers": if protected { json!([CLAIM_FINALIZER]) } else { json!([]) }}}))
            .unwrap()
        };
        let pod = |node: &str| -> Arc<Pod> {
            Arc::new(
                serde_json::from_value(
                    json!({"metadata": {"name": "p"}, "spec": {"nodeName": node,
                    "containers": [], "volumes": [
                        {"name": "v", "persistentVolumeClaim": {"claimName": "c"}},
                        {"name": "e", "ephemeral": {}}]}}),
                )
                .unwrap(),
            )
        };
        assert_eq!(claims_of(&pod("n")), ["c", "p-e"]);
        let cases = [
            (claim(false, false), vec![], Action::Protect),
            (claim(false, true), vec![], Action::Keep),
            (claim(true, true), vec![], Action::Release),
            (claim(true, true), vec![pod("")], Action::Release),
            (claim(true, true), vec![pod("n")], Action::Keep),
            (claim(true, false), vec![], Action::Keep),
        ];
        for (claim, pods, expected) in cases {
            assert_eq!(decide_claim(&claim, &pods), expected, "{claim:?}");
        }
    }
}
