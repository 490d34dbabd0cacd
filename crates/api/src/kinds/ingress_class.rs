//! `networking.k8s.io/v1 IngressClass`: which controller serves an Ingress.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, ingress, row, tree};
use crate::name;
use crate::resource::{Cell, Column, Resource, Scope, Strategy};

struct IngressClass;

const CONTROLLER_MAX: usize = 250;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        columns: vec![
            Column::new("Controller", Cell::Pointer("/spec/controller")),
            Column::new("Parameters", Cell::Compute(|o, _| parameters(o).into())),
            cells::age(),
        ],
        has_generation: true,
        ..row("networking.k8s.io", "v1", "IngressClass", "ingressclasses", &IngressClass)
    }]
}

fn parameters(object: &Value) -> String {
    let Some(parameters) = tree::at(object, "/spec/parameters") else {
        return "<none>".to_owned();
    };
    let (kind, name) = (tree::text(parameters, "/kind"), tree::text(parameters, "/name"));
    match tree::at(parameters, "/apiGroup").and_then(Value::as_str) {
        Some(group) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

fn validate_parameters(at: &At<'_>, faults: &mut Faults) {
    if !at.is_set() {
        return;
    }
    ingress::typed_reference(at, faults);
    let (scope, namespace) = (at.get("scope"), at.get("namespace"));
    match scope.text() {
        _ if !scope.is_set() => faults.required(&scope, ""),
        "Namespace" if !namespace.is_set() => {
            faults.required(&namespace, "`parameters.scope` is set to 'Namespace'");
        }
        "Namespace" => faults.rule(&namespace, name::label),
        "Cluster" if namespace.is_set() => {
            faults.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'");
        }
        "Cluster" => {}
        _ => faults.not_supported(&scope, &["Cluster", "Namespace"]),
    }
}

impl Strategy for IngressClass {
    fn default(&self, object: &mut Value) {
        if let Some(parameters) = tree::at_mut(object, "/spec/parameters") {
            tree::fill(parameters, "scope", "Cluster");
        }
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let controller = spec.get("controller");
        let mut faults = Faults::default();
        if controller.text().len() > CONTROLLER_MAX {
            faults.too_long(&controller, CONTROLLER_MAX);
        }
        faults.required_rule(&controller, name::domain_prefixed_path);
        validate_parameters(&spec.get("parameters"), &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        let field = |object| At::root(object).get2("spec", "controller");
        faults.immutable(&field(new), &field(old));
        faults.0.extend(self.validate(new));
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
        let mut object = json!({"spec": {"controller": "a.b/c",
            "parameters": {"apiGroup": "x.y", "kind": "K", "name": "n"}}});
        IngressClass.default(&mut object);
        assert_eq!(object["spec"]["parameters"]["scope"], "Cluster");
        assert_eq!(show(&IngressClass.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["a.b/c", "K.x.y/n", "<unknown>"]
        );
        let mut new = object.clone();
        new["spec"]["controller"] = json!("a.b/d");
        new["spec"]["parameters"]["scope"] = json!("Namespace");
        assert_eq!(
            show(&IngressClass.validate_update(&new, &object)),
            "spec.controller: Invalid value: \"a.b/d\": field is immutable\n\
             spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"
        );
    }
}
