//! `apiextensions.k8s.io/v1 CustomResourceDefinition`: adds a kind.
//!
//! That the schemas are structural, and their rules compile, is checked by crate `schema`; names against those
//! of other definitions by the controller.

mod validate;

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree};
use crate::resource::{Names, Resource, Scope, Strategy, Subresource};

struct CustomResourceDefinition;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["crd", "crds"]),
        categories: Names::Static(&["api-extensions"]),
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        columns: vec![cells::created_at()],
        has_status: true,
        has_generation: true,
        needs_revision: true,
        ..row(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            &CustomResourceDefinition,
        )
    }]
}

fn storage_version(object: &Value) -> Option<String> {
    let versions = tree::list(object, "/spec/versions");
    let stored = versions.iter().find(|version| tree::flag(version, "/storage"))?;
    Some(tree::text(stored, "/name").to_owned())
}

/// Notes that objects are stored in the storage version from now on.
fn note_stored_version(object: &mut Value) {
    let Some(version) = storage_version(object) else { return };
    let status = tree::make(object, "status");
    tree::fill(status, "storedVersions", json!([]));
    if !tree::texts(status, "/storedVersions").contains(&version.as_str())
        && let Some(list) = status.get_mut("storedVersions").and_then(Value::as_array_mut)
    {
        list.push(version.into());
    }
}

impl Strategy for CustomResourceDefinition {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        let names = tree::make(spec, "names");
        let kind = tree::text(names, "/kind").to_owned();
        if !kind.is_empty() {
            tree::fill_zero(names, "singular", kind.to_lowercase());
            tree::fill_zero(names, "listKind", format!("{kind}List"));
        }
        tree::fill(spec, "conversion", json!({"strategy": "None"}));
        if let Some(service) = tree::at_mut(spec, "/conversion/webhook/clientConfig/service") {
            tree::fill(service, "port", 443);
        }
        if tree::list(object, "/status/storedVersions").is_empty() {
            note_stored_version(object);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({}));
        note_stored_version(object);
    }

    fn prepare_for_update(&self, new: &mut Value, _old: &Value) {
        note_stored_version(new);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let mut faults = Faults::default();
        validate::own_name(&at, &mut faults);
        validate::spec(&at.get("spec"), &mut faults);
        validate::stored_versions(object, &mut faults);
        validate::approval(&at, None, &mut faults);
        if at.get2("spec", "preserveUnknownFields").flag() {
            faults.invalid(
                &at.get2("spec", "preserveUnknownFields"),
                "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
            );
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let (at, before) = (At::root(new), At::root(old));
        let mut faults = Faults::default();
        validate::spec(&at.get("spec"), &mut faults);
        validate::spec_update(&at.get("spec"), &before.get("spec"), old, &mut faults);
        validate::stored_versions(new, &mut faults);
        validate::approval(&at, Some(old), &mut faults);
        if at.get2("spec", "preserveUnknownFields").flag()
            && !tree::flag(old, "/spec/preserveUnknownFields")
        {
            faults.invalid(
                &at.get2("spec", "preserveUnknownFields"),
                "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
            );
        }
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate::names(&At::root(new).get2("status", "acceptedNames"), &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::check::show;

    fn sample() -> Value {
        let mut object = json!({"metadata": {"name": "foos.example.com"}, "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        CustomResourceDefinition.default(&mut object);
        CustomResourceDefinition.prepare_for_create(&mut object);
        object
    }

    #[test]
    fn defaults_are_upstreams() {
        let object = sample();
        assert_eq!(
            object["spec"]["names"],
            json!({"plural": "foos", "kind": "Foo", "singular": "foo", "listKind": "FooList"})
        );
        assert_eq!(object["spec"]["conversion"], json!({"strategy": "None"}));
        assert_eq!(object["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(show(&CustomResourceDefinition.validate(&object)), "");
    }

    #[test]
    fn faults_read_as_upstreams() {
        let cases = [
            (
                "/metadata/name",
                json!("x"),
                "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group",
            ),
            (
                "/spec/scope",
                json!("Both"),
                "spec.scope: Unsupported value: \"Both\": supported values: \"Cluster\", \"Namespaced\"",
            ),
            (
                "/spec/versions/0/schema",
                json!(null),
                "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
            ),
            (
                "/spec/versions/0/name",
                json!("V1"),
                "spec.versions[0].name: Invalid value: \"V1\": a DNS-1035 label",
            ),
            (
                "/spec/names/listKind",
                json!("Foo"),
                "spec.names.listKind: Invalid value: \"Foo\": kind and listKind may not be the same",
            ),
        ];
        for (pointer, value, text) in cases {
            let mut object = sample();
            *object.pointer_mut(pointer).unwrap() = value;
            let shown = show(&CustomResourceDefinition.validate(&object));
            assert!(shown.starts_with(text), "{shown}");
        }
    }

    #[test]
    fn names_stay_once_established() {
        let mut old = sample();
        old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
        let mut new = old.clone();
        new["spec"]["names"]["kind"] = json!("Bar");
        new["spec"]["versions"].as_array_mut().unwrap().push(json!({"name": "v2", "served": true,
            "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}}));
        assert_eq!(
            show(&CustomResourceDefinition.validate_update(&new, &old)),
            "spec.names.kind: Invalid value: \"Bar\": field is immutable"
        );
    }

    #[test]
    fn protected_groups_need_approval() {
        let mut object = sample();
        object["spec"]["group"] = json!("foo.k8s.io");
        object["metadata"]["name"] = json!("foos.foo.k8s.io");
        assert!(show(&CustomResourceDefinition.validate(&object)).starts_with(
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation"
        ));
    }
}
