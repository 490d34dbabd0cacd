//! `v1 Namespace`: a scope for names.

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree};
use crate::meta;
use crate::object::SelectableFields;
use crate::resource::{
    Cell, Column, NameRule, Names, Resource, STATUS_VERBS, Scope, Strategy, Subresource,
};

struct Namespace;

/// The finalizer that the namespace controller removes when everything within is gone.
const FINALIZER: &str = "kubernetes";
/// The label with the name, so that selectors can name a namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["ns"]),
        scope: Scope::Cluster,
        verbs: Names::Static(&["create", "delete", "get", "list", "patch", "update", "watch"]),
        subresources: vec![
            Subresource::own("finalize", &["update"]),
            Subresource::own("status", STATUS_VERBS),
        ],
        columns: vec![Column::new("Status", Cell::Pointer("/status/phase")), cells::age()],
        name_rule: NameRule::Label,
        has_status: true,
        shows_deleted: true,
        ..row("", "v1", "Namespace", "namespaces", &Namespace)
    }]
}

fn set_name_label(object: &mut Value) {
    let own_name = meta::name(object).to_owned();
    if !own_name.is_empty() {
        let labels = tree::make(tree::make(object, "metadata"), "labels");
        tree::set(labels, NAME_LABEL, own_name);
    }
}

impl Strategy for Namespace {
    fn default(&self, object: &mut Value) {
        set_name_label(object);
        tree::make(object, "spec");
        tree::fill_zero(tree::make(object, "status"), "phase", "Active");
    }

    fn prepare_for_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({"phase": "Active"}));
        let spec = tree::make(object, "spec");
        tree::fill(spec, "finalizers", json!([]));
        if !tree::texts(spec, "/finalizers").contains(&FINALIZER)
            && let Some(list) = spec.get_mut("finalizers").and_then(Value::as_array_mut)
        {
            list.push(json!(FINALIZER));
        }
        // The name may have been generated since the defaults were filled in.
        set_name_label(object);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value) {
        let old_spec = old.get("spec").cloned().unwrap_or_default();
        tree::restore(tree::make(new, "spec"), &old_spec, "finalizers");
        set_name_label(new);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let list = At::root(object).get2("spec", "finalizers");
        let mut faults = Faults::default();
        for finalizer in list.items() {
            finalizer_name(&finalizer, &list, &mut faults);
        }
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        let phase = At::root(new).get2("status", "phase");
        let at = At { value: phase.value, path: At::root(new).get2("status", "Phase").path };
        let is_deleting = meta::is_deleting(new);
        if !is_deleting && phase.text() != "Active" {
            faults.invalid(&at, "may only be 'Active' if `deletionTimestamp` is empty");
        }
        if is_deleting && phase.text() != "Terminating" {
            faults.invalid(&at, "may only be 'Terminating' if `deletionTimestamp` is not empty");
        }
        faults.0
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        vec![
            ("status.phase", tree::text(object, "/status/phase").into()),
            ("name", meta::name(object).into()),
        ]
    }
}

fn finalizer_name(finalizer: &At<'_>, list: &At<'_>, faults: &mut Faults) {
    let text = finalizer.text();
    faults.qualified_as(list, text, text);
    if !text.contains('/') && !crate::name::is_standard_finalizer(text) {
        faults.invalid_as(
            list,
            text,
            "name is neither a standard finalizer name nor is it fully qualified",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn a_new_namespace_is_active_and_finalized() {
        let mut object =
            json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}});
        Namespace.default(&mut object);
        Namespace.prepare_for_create(&mut object);
        assert_eq!(
            object,
            json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z",
                    "labels": {"kubernetes.io/metadata.name": "a"}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
        );
        assert_eq!(cells::show(&rows()[0], &object, "2026-01-01T00:01:00Z"), ["Active", "60s"]);
        assert_eq!(show(&Namespace.validate(&object)), "");
        let mut bad = object.clone();
        bad["spec"]["finalizers"] = json!(["x"]);
        assert!(
            show(&Namespace.validate(&bad))
                .starts_with("spec.finalizers: Invalid value: \"x\": name is neither")
        );
        bad["status"]["phase"] = json!("Terminating");
        assert_eq!(
            show(&Namespace.validate_status_update(&bad, &object)),
            "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
        );
    }
}
