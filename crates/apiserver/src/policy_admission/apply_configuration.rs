//! Changes by apply configuration: an `Object` that an expression makes is laid over the present one as
//! server-side apply does it, but nobody owns what it sets.

use expression::Value as Operand;
use patch::managers::{OneVersion, Write};
use schema::{Kind, ListType, MapType, Schema};
use serde_json::Value;

/// Checks that objects inside of others are named after the way to them: `Object.spec` in `Object{spec: ..}`.
///
/// # Errors
/// The names that do not fit, in upstream's words.
pub(super) fn check_types(value: &Operand, root: &str) -> Result<(), String> {
    let mut faults = Vec::new();
    check(value, root, &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(format!("type mismatch: {}", faults.join("\n"))) }
}

fn check(value: &Operand, path: &str, faults: &mut Vec<String>) {
    match value {
        Operand::Map(map) => {
            if let Some(name) = map.type_name()
                && name != path
            {
                faults.push(format!("unexpected type name {name:?}, expected {path:?}, which matches field name path from root Object type"));
            }
            for (key, value) in map.entries() {
                match (map.type_name(), key.as_str()) {
                    (Some(_), Some(key)) => check(value, &format!("{path}.{key}"), faults),
                    // Maps have no name of their own.
                    _ => check(value, path, faults),
                }
            }
        }
        Operand::List(list) => list.items().iter().for_each(|item| check(item, path, faults)),
        _ => {}
    }
}

/// The object with what an expression came to laid over it.
///
/// # Errors
/// It does not fit the schema, or would replace something as a whole.
pub(super) fn apply(object: &Value, result: &Operand, schema: &Schema) -> Result<Value, String> {
    check_types(result, "Object")?;
    let mut applied = result.to_json().map_err(|error| format!("invalid return type: {error}"))?;
    for field in ["apiVersion", "kind"] {
        if let Some(value) = object.get(field) {
            applied[field] = value.clone();
        }
    }
    merge(object, &applied, schema).map_err(|why| format!("error applying patch: {why}"))
}

fn merge(object: &Value, applied: &Value, schema: &Schema) -> Result<Value, String> {
    let write = Write {
        manager: "",
        api_version: applied["apiVersion"].as_str().unwrap_or_default(),
        subresource: "",
        time: "",
        schema,
        ignored: &[],
        versions: &OneVersion,
    };
    let merged = patch::apply::apply(object, applied, Vec::new(), true, true, &write)
        .map_err(|error| format!("failed to convert patch object to typed object: {error}"))?;
    let mut atomics = Vec::new();
    find_atomics(applied, schema, &mut String::new(), &mut atomics);
    if atomics.is_empty() {
        return Ok(merged.object);
    }
    Err(format!(
        "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
        atomics.join(", ")
    ))
}

/// The places in `value` that are replaced as a whole, which loses what the expression does not say.
fn find_atomics(value: &Value, schema: &Schema, path: &mut String, atomics: &mut Vec<String>) {
    let length = path.len();
    match value {
        Value::Object(map) => {
            let is_map = matches!(schema.kind(), Kind::Object | Kind::Map);
            if is_map && schema.map_type() == MapType::Atomic {
                atomics.push(path.clone());
            }
            for (key, value) in map {
                let Some(child) = schema.property(key) else { continue };
                path.push_str(&format!(".{key}"));
                find_atomics(value, &child, path, atomics);
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            if schema.kind() == Kind::Array && schema.list_type() == ListType::Atomic {
                atomics.push(path.clone());
            }
            let Some(child) = schema.items() else { return };
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                find_atomics(item, &child, path, atomics);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use expression::{Activation, Budget};
    use serde_json::json;

    use super::*;
    use crate::policy_admission::environment::{Extras, Returns, compile, with};

    fn run(text: &str) -> Result<Value, String> {
        let environment = with(Extras { patches: true, ..Extras::default() });
        let program = compile(&environment, text, Returns::Object)?;
        let result = program.evaluate(&Activation::new(), &mut Budget::default());
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let schema = schema::for_kind("apps", "v1", "Deployment").unwrap();
        apply(&object, &result.map_err(|error| error.to_string())?, &schema)
    }

    #[test]
    fn objects_are_merged_by_their_schema() {
        let text = r#"Object{spec: Object.spec{replicas: 3, template: Object.spec.template{
            spec: Object.spec.template.spec{containers: [
                Object.spec.template.spec.containers{name: "d", image: "j"}]}}}}"#;
        let merged = run(text).unwrap();
        assert_eq!(merged["spec"]["replicas"], 3);
        let containers = merged["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        let mut names: Vec<&Value> =
            containers.iter().map(|container| &container["name"]).collect();
        names.sort_by_key(|name| name.to_string());
        assert_eq!(names, ["c", "d"]);
        let labels = run(r#"Object{metadata: Object.metadata{labels: {"a": "b"}}}"#).unwrap();
        assert_eq!(labels["metadata"], json!({"name": "a", "labels": {"a": "b"}}));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let cases = [
            (
                "Object{spec: Object.status{}}",
                "type mismatch: unexpected type name \"Object.status\", expected \"Object.spec\", which matches field name path from root Object type",
            ),
            (
                "Object{spec: Object.spec{none: 1}}",
                "error applying patch: failed to convert patch object to typed object: .spec.none: field not declared in schema",
            ),
            (
                "Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'b'}}}}",
                "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(run(text).unwrap_err(), expected, "{text}");
        }
    }
}
