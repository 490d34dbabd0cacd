//! `scheduling.k8s.io/v1 PriorityClass`: names a priority.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree};
use crate::meta;
use crate::resource::{Cell, Column, Names, Resource, Scope, Strategy};

struct PriorityClass;

/// Highest value that users may give.
const USER_VALUE_MAX: i64 = 1_000_000_000;
const SYSTEM_PREFIX: &str = "system-";
/// Classes of the system, with their values.
const SYSTEM: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["pc"]),
        scope: Scope::Cluster,
        columns: vec![
            Column::integer("Value", Cell::Compute(|o, _| tree::count(o, "/value").into())),
            cells::boolean(
                "Global-Default",
                Cell::Compute(|o, _| tree::flag(o, "/globalDefault").into()),
            ),
            cells::age(),
            Column::new("PreemptionPolicy", Cell::Pointer("/preemptionPolicy")),
        ],
        has_generation: true,
        ..row("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", &PriorityClass)
    }]
}

fn system_fault(object: &Value) -> Option<String> {
    let name = meta::name(object);
    let Some((_, value)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if tree::count(object, "/value") != *value {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    tree::flag(object, "/globalDefault")
        .then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

impl Strategy for PriorityClass {
    fn default(&self, object: &mut Value) {
        tree::fill(object, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let mut faults = Faults::default();
        if meta::name(object).starts_with(SYSTEM_PREFIX) {
            if let Some(fault) = system_fault(object) {
                faults.forbidden(
                    &at.get2("metadata", "name"),
                    format!("priority class names with 'system-' prefix are reserved for system use only. error: {fault}"),
                );
            }
        } else if tree::count(object, "/value") > USER_VALUE_MAX {
            faults.forbidden(
                &at.get("value"),
                format!("maximum allowed value of a user defined priority is {USER_VALUE_MAX}"),
            );
        }
        if at.get("preemptionPolicy").is_set() {
            faults.one_of(&at.get("preemptionPolicy"), &["Never", "PreemptLowerPriority"]);
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let (at, before) = (At::root(new), At::root(old));
        let mut faults = Faults::default();
        if tree::count(new, "/value") != tree::count(old, "/value") {
            faults.forbidden(&at.get("value"), "may not be changed in an update.");
        }
        faults.immutable(&at.get("preemptionPolicy"), &before.get("preemptionPolicy"));
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn values_are_bounded_and_stay() {
        let mut old = json!({"metadata": {"name": "a"}, "value": 5});
        PriorityClass.default(&mut old);
        assert_eq!(show(&PriorityClass.validate(&old)), "");
        assert_eq!(
            cells::show(&rows()[0], &old, "2026-01-01T00:00:00Z"),
            ["5", "false", "<unknown>", "PreemptLowerPriority"]
        );
        let mut new = old.clone();
        new["value"] = json!(1_000_000_001_i64);
        assert_eq!(
            show(&PriorityClass.validate(&new)),
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"
        );
        assert_eq!(
            show(&PriorityClass.validate_update(&new, &old)),
            "value: Forbidden: may not be changed in an update."
        );
        let system = json!({"metadata": {"name": "system-x"}});
        assert!(
            show(&PriorityClass.validate(&system))
                .ends_with("system-x is not a known system priority class")
        );
    }
}
