//! `PersistentVolumeClaimResize`: a claim grows only where its class says that volumes can.

use api::meta;
use api::quantity::Quantity;
use api::status::Status;
use serde_json::Value;

use super::default_storage_class::CLASS_ANNOTATION;
use crate::{Lookup, Operation, Plugin, Request, tree};

/// See the module's text.
#[derive(Debug)]
pub struct PersistentVolumeClaimResize;

impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn validate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        if request.operation != Operation::Update || !request.is("", "persistentvolumeclaims") {
            return Ok(());
        }
        let old = request.old_object();
        if size(&request.object) <= size(old) {
            return Ok(());
        }
        if tree::text(old, "/status/phase") != "Bound" {
            return Err(request.forbid("Only bound persistent volume claims can be expanded"));
        }
        if !grows(&request.object, old, cluster) {
            return Err(request.forbid("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"));
        }
        Ok(())
    }
}

fn size(claim: &Value) -> Quantity {
    let size = tree::at(claim, "/spec/resources/requests/storage");
    size.and_then(|size| Quantity::from_json(size).ok()).unwrap_or(Quantity::ZERO)
}

fn class(claim: &Value) -> &str {
    match meta::annotation(claim, CLASS_ANNOTATION) {
        Some(class) => class,
        None => tree::text(claim, "/spec/storageClassName"),
    }
}

fn grows(claim: &Value, old: &Value, cluster: &dyn Lookup) -> bool {
    let name = class(claim);
    if name.is_empty() || name != class(old) {
        return false;
    }
    let found = cluster.get("storage.k8s.io", "storageclasses", "", name);
    found.is_some_and(|found| tree::flag(&found.to_value(), "/allowVolumeExpansion") == Some(true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Case, Cluster};

    #[test]
    fn growth_needs_a_bound_claim_and_a_class_that_grows() {
        let cluster = Cluster::default()
            .with(
                "storageclasses",
                json!({"metadata": {"name": "yes"}, "allowVolumeExpansion": true}),
            )
            .with("storageclasses", json!({"metadata": {"name": "no"}}));
        let claim = |size: &str, class: &str, phase: &str| {
            json!({"metadata": {"name": "c"}, "status": {"phase": phase},
                "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}})
        };
        let cases = [
            ("1Gi", "no", "Pending", ""),
            ("2Gi", "yes", "Bound", ""),
            ("2Gi", "yes", "Pending", "Only bound persistent volume claims can be expanded"),
            (
                "2Gi",
                "no",
                "Bound",
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
            ),
        ];
        for (size, class, phase, why) in cases {
            let case = Case::update(
                "persistentvolumeclaims",
                claim("1Gi", class, phase),
                claim(size, class, phase),
            );
            let refusal = case.refusal(&PersistentVolumeClaimResize, &cluster);
            assert!(refusal.ends_with(why) && refusal.is_empty() == why.is_empty(), "{refusal}");
        }
    }
}
