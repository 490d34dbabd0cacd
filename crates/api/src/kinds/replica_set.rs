//! `apps/v1 ReplicaSet`: keeps a number of equal pods.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, pod_spec, row, tree, workload};
use crate::resource::{Cell, Column, Names, Resource, Strategy, Subresource};

struct ReplicaSet;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["rs"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::SCALE, Subresource::STATUS],
        columns: columns(),
        has_status: true,
        has_generation: true,
        ..row("apps", "v1", "ReplicaSet", "replicasets", &ReplicaSet)
    }]
}

/// The columns of this kind and of ReplicationController.
pub(super) fn counts() -> Vec<Column> {
    vec![
        Column::integer("Desired", Cell::Compute(|o, _| tree::count(o, "/spec/replicas").into())),
        Column::integer("Current", Cell::Compute(|o, _| tree::count(o, "/status/replicas").into())),
        Column::integer(
            "Ready",
            Cell::Compute(|o, _| tree::count(o, "/status/readyReplicas").into()),
        ),
        cells::age(),
    ]
}

fn columns() -> Vec<Column> {
    let mut columns = counts();
    columns.extend(cells::workload_wide());
    columns
}

/// Status counters of this kind and of ReplicationController.
pub(super) fn validate_status(status: &At<'_>, faults: &mut Faults) {
    let counters = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    faults.non_negative(&status.get("replicas"));
    workload::counters(status, &counters, faults);
    workload::not_more_than_replicas(status, &counters, faults);
    workload::available_of_ready(status, faults);
}

fn validate_spec(spec: &At<'_>, faults: &mut Faults) {
    faults.non_negative(&spec.get("replicas"));
    faults.non_negative(&spec.get("minReadySeconds"));
    workload::selector(&spec.get("selector"), "empty selector is invalid for deployment", faults);
    workload::template(spec, &workload::TemplateRule::ALWAYS, faults);
}

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        tree::fill(spec, "replicas", 1);
        pod_spec::defaults::template(tree::make(spec, "template"));
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate_spec(&At::root(object).get("spec"), &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let (new, old) = (At::root(new), At::root(old));
        let mut faults = Faults::default();
        validate_spec(&new.get("spec"), &mut faults);
        faults.immutable(&new.get2("spec", "selector"), &old.get2("spec", "selector"));
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate_status(&At::root(new).get("status"), &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn defaults_faults_and_columns() {
        let mut object = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        ReplicaSet.default(&mut object);
        assert_eq!(object["spec"]["replicas"], 1);
        assert_eq!(show(&ReplicaSet.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:07Z"),
            ["1", "0", "0", "7s", "c", "i", "a=b"]
        );
        let mut new = object.clone();
        new["status"] = json!({"replicas": 1, "readyReplicas": 2});
        assert_eq!(
            show(&ReplicaSet.validate_status_update(&new, &object)),
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"
        );
        new["spec"]["selector"] = json!({"matchLabels": {"x": "y"}});
        assert!(show(&ReplicaSet.validate_update(&new, &object)).ends_with("field is immutable"));
    }
}
