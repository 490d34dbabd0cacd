//! `coordination.k8s.io/v1 Lease`: who leads, who is alive.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row};
use crate::resource::{Cell, Column, Resource, Strategy};

struct Lease;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        columns: vec![Column::new("Holder", Cell::Pointer("/spec/holderIdentity")), cells::age()],
        create_on_update: true,
        needs_revision: true,
        ..row("coordination.k8s.io", "v1", "Lease", "leases", &Lease)
    }]
}

/// How the leader among candidates is found: a known way, or one with a domain in front.
pub(super) fn strategy(at: &At<'_>, faults: &mut Faults) {
    if !at.text().contains('/') && at.text() != "OldestEmulationVersion" {
        faults.not_supported(at, &["OldestEmulationVersion"]);
    } else if at.text().contains('/') {
        faults.qualified(at);
    }
}

impl Strategy for Lease {
    fn default(&self, object: &mut Value) {
        crate::kinds::tree::make(object, "spec");
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let mut faults = Faults::default();
        faults.positive(&spec.get("leaseDurationSeconds"));
        faults.non_negative(&spec.get("leaseTransitions"));
        if spec.get("strategy").is_set() {
            strategy(&spec.get("strategy"), &mut faults);
        }
        if !spec.get("preferredHolder").is_zero() && spec.get("strategy").is_zero() {
            faults.forbidden(
                &spec.get("preferredHolder"),
                "may only be specified if `strategy` is defined",
            );
        }
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn durations_are_positive() {
        let mut object = json!({});
        Lease.default(&mut object);
        assert_eq!(object, json!({"spec": {}}));
        let object = json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1, "holderIdentity": "a"}});
        assert_eq!(
            show(&Lease.validate(&object)),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0\n\
             spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"
        );
        assert_eq!(cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"), ["a", "<unknown>"]);
    }
}
