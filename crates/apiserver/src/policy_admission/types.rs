//! What is doubtful about a policy's expressions once the types of the objects that it matches are known.
//!
//! Only a warning in the policy's status: the same expressions run on objects of which nothing is known.

use std::collections::BTreeSet;

use expression::{Environment, Program, Shape};
use serde_json::{Value, json};

use super::check::anything;
use super::environment::{Extras, extend};
use crate::handle::text;
use crate::registry::Table;

/// Most kinds that one rule is checked against.
const KINDS_PER_RULE_MAX: usize = 10;

/// Group, version and kind.
type KindName = (String, String, String);

/// `status.typeChecking.expressionWarnings` of a policy.
pub(super) fn warnings(policy: &Value, table: &Table) -> Vec<Value> {
    let spec = policy.get("spec").unwrap_or(&Value::Null);
    let params = params_shape(spec, table);
    let environments: Vec<(KindName, Environment)> = kinds(spec, table)
        .into_iter()
        .filter_map(|kind| {
            let environment = environment(spec, shape_of(&kind, table)?, params.clone());
            Some((kind, environment))
        })
        .collect();
    let mut warnings = Vec::new();
    let validations = spec.get("validations").and_then(Value::as_array);
    for (index, validation) in validations.into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = validation.get(field).and_then(Value::as_str).unwrap_or_default();
            if source.is_empty() {
                continue;
            }
            let faults: Vec<String> =
                environments.iter().filter_map(|place| fault(place, source)).collect();
            if !faults.is_empty() {
                warnings.push(json!({
                    "fieldRef": format!("spec.validations[{index}].{field}"),
                    "warning": faults.join("\n"),
                }));
            }
        }
    }
    warnings
}

fn fault(
    ((group, version, kind), environment): &(KindName, Environment),
    source: &str,
) -> Option<String> {
    let error = Program::compile(environment, source).err()?;
    Some(format!("{group}/{version}, Kind={kind}: {error}\n"))
}

fn environment(spec: &Value, object: Shape, params: Option<Shape>) -> Environment {
    let base = Environment::new().with("object", object.clone()).with("oldObject", object);
    let extras = Extras { authorizer: true, variables: true, ..Extras::default() };
    let mut environment = extend(base, params, extras);
    let variables = spec.get("variables").and_then(Value::as_array);
    for variable in variables.into_iter().flatten() {
        let program = Program::compile(&environment, text(variable, "/expression")).ok();
        if let Some(program) = program.or_else(anything) {
            environment.add_variable(text(variable, "/name"), &program);
        }
    }
    environment
}

fn shape_of((group, version, kind): &KindName, table: &Table) -> Option<Shape> {
    let row = table.find_kind(group, version, kind)?;
    let schema = table.schema(row);
    Some(Shape::of_schema(&schema, false, kind).unwrap_or_else(Shape::dynamic))
}

fn params_shape(spec: &Value, table: &Table) -> Option<Shape> {
    let kind = spec.get("paramKind")?;
    let api_version = text(kind, "/apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    shape_of(&(group.to_owned(), version.to_owned(), text(kind, "/kind").to_owned()), table)
}

/// The kinds that the policy's rules name, sorted. Rules with wildcards name none.
fn kinds(spec: &Value, table: &Table) -> BTreeSet<KindName> {
    let mut kinds = BTreeSet::new();
    let rules = spec.pointer("/matchConstraints/resourceRules").and_then(Value::as_array);
    for rule in rules.into_iter().flatten() {
        let named = |field: &str| -> Vec<&str> {
            let list = rule.get(field).and_then(Value::as_array);
            let mut list: Vec<&str> =
                list.into_iter().flatten().filter_map(Value::as_str).collect();
            list.sort_unstable();
            list
        };
        let (groups, versions) = (named("apiGroups"), named("apiVersions"));
        if groups.iter().chain(&versions).any(|name| name.contains('*')) {
            continue;
        }
        let mut resources = named("resources");
        resources.retain(|name| !name.contains(['*', '/']));
        let rows = groups.iter().flat_map(|group| {
            let resources = &resources;
            versions.iter().flat_map(move |version| {
                resources.iter().filter_map(move |resource| table.find(group, version, resource))
            })
        });
        let names =
            rows.map(|row| (row.group.to_string(), row.version.to_string(), row.kind.to_string()));
        kinds.extend(names.take(KINDS_PER_RULE_MAX));
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn found(validation: Value) -> Vec<String> {
        let policy = json!({"spec": {
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": [
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "deployments/status", "*"]}]},
            "variables": [{"name": "replicas", "expression": "object.spec.replicas"}],
            "validations": [validation],
        }});
        let warnings = warnings(&policy, &Registry::default().table());
        warnings
            .iter()
            .map(|at| format!("{} {}", text(at, "/fieldRef"), text(at, "/warning")))
            .collect()
    }

    #[test]
    fn doubtful_expressions_are_named() {
        assert!(found(json!({"expression": "object.spec.replicas > 1 && object.metadata.labels['a'] == 'b' && variables.replicas > 2 && params.data['a'] == 'c'"})).is_empty());
        let confused = found(json!({"expression": "object.spec.replicas > '1'",
            "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"}));
        assert_eq!(confused.len(), 2);
        assert!(confused[0].starts_with("spec.validations[0].expression apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'"), "{}", confused[0]);
        assert!(
            confused[1].contains("found no matching overload for '_+_' applied to '(string, int)'"),
            "{}",
            confused[1]
        );
        let missing = found(json!({"expression": "object.spec.maxRetries < 10"}));
        assert!(missing[0].contains("undefined field 'maxRetries'"), "{}", missing[0]);
    }
}
