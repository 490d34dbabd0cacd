//! `autoscaling HorizontalPodAutoscaler`, versions v1 and v2: scales by metrics; v2 is the storage form.

mod columns;
mod v1;
mod validate;

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{row, tree};
use crate::resource::{Names, Resource, Strategy, Subresource};

/// Version v2.
struct HorizontalPodAutoscaler;
/// Version v1.
struct Version1;

const PLURAL: &str = "horizontalpodautoscalers";
const KIND: &str = "HorizontalPodAutoscaler";
/// Percent of the request that is aimed at where no metric is given.
const CPU_UTILIZATION: i64 = 80;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version, columns, strategy| Resource {
        short_names: Names::Static(&["hpa"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::STATUS],
        columns,
        has_status: true,
        ..row("autoscaling", version, KIND, PLURAL, strategy).stored_as("autoscaling", "v2", PLURAL)
    };
    vec![
        of("v2", columns::columns(), &HorizontalPodAutoscaler),
        of("v1", columns::columns_v1(), &Version1),
    ]
}

fn scaling_rules(rules: Option<Value>, defaults: &Value) -> Value {
    let mut result = rules.filter(Value::is_object).unwrap_or_else(|| json!({}));
    for (key, value) in defaults.as_object().into_iter().flatten() {
        tree::fill(&mut result, key, value.clone());
    }
    result
}

fn fill_behavior(spec: &mut Value) {
    let Some(behavior) = tree::child(spec, "behavior") else { return };
    let up = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15}]});
    let down = json!({"selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]});
    for (which, defaults) in [("scaleUp", up), ("scaleDown", down)] {
        let rules = behavior.get(which).cloned();
        tree::set(behavior, which, scaling_rules(rules, &defaults));
    }
}

/// The metric that is taken where none is named, and the one that v1 has a field for.
fn cpu_utilization(percent: &Value) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": percent}}})
}

impl Strategy for HorizontalPodAutoscaler {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        tree::fill(spec, "minReplicas", 1);
        tree::fill_zero(spec, "metrics", json!([cpu_utilization(&CPU_UTILIZATION.into())]));
        fill_behavior(spec);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate::spec(&At::root(object).get("spec"), 1, &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let least = i64::from(tree::int(old, "/spec/minReplicas") != Some(0));
        let mut faults = Faults::default();
        validate::spec(&At::root(new).get("spec"), least, &mut faults);
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let status = At::root(new).get("status");
        let mut faults = Faults::default();
        faults.non_negative(&status.get("currentReplicas"));
        faults.non_negative(&status.get("desiredReplicas"));
        faults.0
    }
}

impl Strategy for Version1 {
    fn default(&self, object: &mut Value) {
        tree::fill(tree::make(object, "spec"), "minReplicas", 1);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        HorizontalPodAutoscaler.validate(&v1::stored(object))
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        HorizontalPodAutoscaler.validate_update(&v1::stored(new), &v1::stored(old))
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        HorizontalPodAutoscaler.validate_status_update(new, old)
    }

    fn to_storage(&self, object: &mut Value) {
        *object = v1::stored(object);
    }

    fn from_storage(&self, object: &mut Value) {
        v1::from_stored(object);
    }
}

#[cfg(test)]
mod tests;
