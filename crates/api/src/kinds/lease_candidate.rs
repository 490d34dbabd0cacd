//! `coordination.k8s.io LeaseCandidate`: who may lead.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, lease, row};
use crate::name;
use crate::resource::{Cell, Column, Resource, Strategy};

struct LeaseCandidate;

const GROUP: &str = "coordination.k8s.io";

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version| Resource {
        columns: vec![
            Column::new("LeaseName", Cell::Pointer("/spec/leaseName")),
            Column::new("BinaryVersion", Cell::Pointer("/spec/binaryVersion")),
            Column::new("EmulationVersion", Cell::Pointer("/spec/emulationVersion")),
            cells::age(),
        ],
        create_on_update: true,
        off_by_default: true,
        needs_revision: true,
        ..row(GROUP, version, "LeaseCandidate", "leasecandidates", &LeaseCandidate).stored_as(
            GROUP,
            "v1beta1",
            "leasecandidates",
        )
    };
    vec![of("v1beta1"), of("v1alpha2")]
}

/// A version such as `1.32.0`, as its numbers.
fn version(text: &str) -> Option<Vec<u64>> {
    let core = text.trim_start_matches('v').split(['-', '+']).next()?;
    let parts: Option<Vec<u64>> = core.split('.').map(|part| part.parse().ok()).collect();
    parts.filter(|parts| (2..=3).contains(&parts.len()))
}

impl Strategy for LeaseCandidate {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let mut faults = Faults::default();
        faults.required_rule(&spec.get("leaseName"), name::subdomain);
        let (binary, emulated) = (spec.get("binaryVersion"), spec.get("emulationVersion"));
        let parsed = [&binary, &emulated].map(|at| version(at.text()));
        for (at, parsed) in [&binary, &emulated].into_iter().zip(&parsed) {
            if !at.is_zero() && parsed.is_none() {
                let text = format!("could not parse \"{}\" as version", at.text());
                faults.invalid(at, text);
            }
        }
        if binary.is_zero() {
            faults.required(&binary, "");
        }
        if let [Some(binary_version), Some(emulated_version)] = &parsed
            && binary_version < emulated_version
        {
            faults.invalid(&binary, "must be greater than or equal to `emulationVersion`");
        }
        let strategy = spec.get("strategy");
        if strategy.is_zero() {
            faults.required(&strategy, "");
        } else {
            lease::strategy(&strategy, &mut faults);
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        let field = |object| At::root(object).get2("spec", "leaseName");
        faults.immutable(&field(new), &field(old));
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn versions_are_in_order() {
        let good = json!({"spec": {"leaseName": "l", "binaryVersion": "1.37.0",
            "emulationVersion": "1.36", "strategy": "OldestEmulationVersion"}});
        assert_eq!(show(&LeaseCandidate.validate(&good)), "");
        let mut bad = good.clone();
        bad["spec"]["emulationVersion"] = json!("1.38");
        assert_eq!(
            show(&LeaseCandidate.validate(&bad)),
            "spec.binaryVersion: Invalid value: \"1.37.0\": must be greater than or equal to `emulationVersion`"
        );
    }
}
