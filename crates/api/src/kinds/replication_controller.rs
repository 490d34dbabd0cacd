//! `v1 ReplicationController`: keeps a number of pods, the old form of ReplicaSet.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, pod_spec, replica_set, row, tree};
use crate::object::SelectableFields;
use crate::resource::{Cell, Column, Names, Resource, Strategy, Subresource};

struct ReplicationController;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let mut columns = replica_set::counts();
    let [containers, images, _selector] = cells::workload_wide();
    let selector =
        Column::wide("Selector", Cell::Compute(|o, _| cells::labels(o, "/spec/selector").into()));
    columns.extend([containers, images, selector]);
    vec![Resource {
        short_names: Names::Static(&["rc"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::SCALE, Subresource::STATUS],
        columns,
        has_status: true,
        has_generation: true,
        orphans_by_default: true,
        ..row("", "v1", "ReplicationController", "replicationcontrollers", &ReplicationController)
    }]
}

fn validate_spec(spec: &At<'_>, faults: &mut Faults) {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    faults.non_negative(&spec.get("minReadySeconds"));
    if selector.len() == 0 {
        faults.required(&selector, "");
    }
    faults.non_negative(&spec.get("replicas"));
    if !template.is_set() {
        faults.required(&template, "");
        return;
    }
    let labels = template.get2("metadata", "labels");
    if selector.entries().any(|(key, value)| labels.value.get(key) != Some(value.value)) {
        faults.invalid(&labels, "`selector` does not match template `labels`");
    }
    pod_spec::template::validate(&template, faults);
    let policy = template.get2("spec", "restartPolicy");
    if policy.text() != "Always" {
        faults.not_supported(&policy, &["Always"]);
    }
    let deadline = template.get2("spec", "activeDeadlineSeconds");
    if deadline.is_set() {
        faults.forbidden(
            &deadline,
            "activeDeadlineSeconds in ReplicationController is not Supported",
        );
    }
}

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Value) {
        let labels = object.pointer("/spec/template/metadata/labels").cloned();
        if let Some(labels) = labels.filter(Value::is_object) {
            tree::fill_zero(tree::make(object, "spec"), "selector", labels.clone());
            tree::fill_zero(tree::make(object, "metadata"), "labels", labels);
        }
        let spec = tree::make(object, "spec");
        tree::fill(spec, "replicas", 1);
        if let Some(template) = tree::child(spec, "template") {
            pod_spec::defaults::template(template);
        }
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate_spec(&At::root(object).get("spec"), &mut faults);
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        replica_set::validate_status(&At::root(new).get("status"), &mut faults);
        faults.0
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        let replicas = tree::count(object, "/status/replicas").to_string();
        vec![("status.replicas", replicas.into())]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn labels_come_from_the_template() {
        let mut object = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        ReplicationController.default(&mut object);
        assert_eq!(object["spec"]["selector"], json!({"a": "b"}));
        assert_eq!(object["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(show(&ReplicationController.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["1", "0", "0", "<unknown>", "c", "i", "a=b"]
        );
        assert_eq!(
            show(&ReplicationController.validate(&json!({"spec": {}}))),
            "spec.selector: Required value\nspec.template: Required value"
        );
    }
}
