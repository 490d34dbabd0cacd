//! `policy/v1 PodDisruptionBudget`: how many pods may be down by choice.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree, workload};
use crate::resource::{Cell, Column, NameRule, Names, Resource, Strategy, Subresource};

struct PodDisruptionBudget;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["pdb"]),
        name_rule: NameRule::PathSegment,
        subresources: vec![Subresource::STATUS],
        columns: vec![
            Column::new(
                "Min Available",
                Cell::Compute(|o, _| cells::number_or_text(o, "/spec/minAvailable", "N/A").into()),
            ),
            Column::new(
                "Max Unavailable",
                Cell::Compute(|o, _| {
                    cells::number_or_text(o, "/spec/maxUnavailable", "N/A").into()
                }),
            ),
            Column::integer(
                "Allowed Disruptions",
                Cell::Compute(|o, _| tree::count(o, "/status/disruptionsAllowed").into()),
            ),
            cells::age(),
        ],
        has_status: true,
        has_generation: true,
        needs_revision: true,
        ..row("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", &PodDisruptionBudget)
    }]
}

impl Strategy for PodDisruptionBudget {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let parts = ["minAvailable", "maxUnavailable"].map(|field| spec.get(field));
        let mut faults = Faults::default();
        if parts.iter().all(At::is_set) {
            faults.invalid(&spec, "minAvailable and maxUnavailable cannot be both set");
        }
        for part in parts.iter().filter(|part| part.is_set()) {
            workload::int_or_percent(part, &mut faults);
            workload::at_most_all(part, &mut faults);
        }
        faults.label_selector(&spec.get("selector"));
        faults.optional_one_of(
            &spec.get("unhealthyPodEvictionPolicy"),
            &["AlwaysAllow", "IfHealthyBudget"],
        );
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let status = At::root(new).get("status");
        let mut faults = Faults::default();
        for counter in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            faults.non_negative(&status.get(counter));
        }
        faults.0
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let selector = tree::at(new, "/spec/selector");
        let is_empty = selector.is_some_and(tree::is_zero);
        if is_empty {
            return vec![
                "spec.selector: selects all pods in the namespace (an empty label selector matches everything)".to_owned(),
            ];
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn faults_and_columns() {
        let object = json!({"spec": {"minAvailable": "150%", "maxUnavailable": -1}, "status": {"disruptionsAllowed": 1}});
        assert_eq!(
            show(&PodDisruptionBudget.validate(&object)),
            "spec: Invalid value: {\"maxUnavailable\":-1,\"minAvailable\":\"150%\"}: minAvailable and maxUnavailable cannot be both set\n\
             spec.minAvailable: Invalid value: \"150%\": must not be greater than 100%\n\
             spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0"
        );
        let good = json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
        assert_eq!(show(&PodDisruptionBudget.validate(&good)), "");
        assert_eq!(
            cells::show(&rows()[0], &good, "2026-01-01T00:00:00Z"),
            ["1", "N/A", "0", "<unknown>"]
        );
    }
}
