//! Changes by JSON patch: a list of `JSONPatch` objects that an expression makes.

use expression::{Map, Value as Operand};
use patch::json::JsonPatchError;
use serde_json::{Value, json};

use super::apply_configuration::check_types;

/// The patch that a result stands for.
///
/// # Errors
/// It is not a list of patches, or holds values that JSON does not have.
pub(super) fn patch_of(result: &Operand) -> Result<Value, String> {
    let Operand::List(list) = result else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    list.items().iter().map(operation).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn operation(item: &Operand) -> Result<Value, String> {
    let Operand::Map(map) = item else {
        return Err(format!(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of {}",
            item.type_of()
        ));
    };
    let text = |name| map.field(name).and_then(Operand::as_str).unwrap_or_default();
    let mut operation = json!({"op": text("op"), "path": text("path")});
    if !text("from").is_empty() {
        operation["from"] = json!(text("from"));
    }
    if let Some(value) = value_of(map)? {
        operation["value"] = value;
    }
    Ok(operation)
}

fn value_of(map: &Map) -> Result<Option<Value>, String> {
    let Some(value) = map.field("value") else { return Ok(None) };
    if let Operand::Map(object) = value
        && object.type_name().is_some()
    {
        check_types(value, object.type_name().unwrap_or_default())?;
    }
    let value = value.to_json().map_err(|error| {
        format!(
            "JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}"
        )
    })?;
    Ok(Some(value))
}

/// The object with the patch applied; as it was when a test in the patch fails.
///
/// # Errors
/// The patch does not fit.
pub(super) fn apply(object: &Value, patch: &Value) -> Result<Value, String> {
    let mut new = object.clone();
    match patch::json::apply(&mut new, patch) {
        Ok(()) => Ok(new),
        Err(error) if is_failed_test(&error) => Ok(object.clone()),
        Err(JsonPatchError::DoesNotFit(source)) => Err(format!("JSON Patch: {source}")),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}

fn is_failed_test(error: &JsonPatchError) -> bool {
    matches!(error, JsonPatchError::DoesNotFit(source)
        if matches!(source.kind, json_patch::PatchErrorKind::TestFailed))
}

#[cfg(test)]
mod tests {
    use expression::{Activation, Budget};

    use super::*;
    use crate::policy_admission::environment::{Extras, Returns, compile, with};

    fn run(text: &str) -> Result<Value, String> {
        let environment = with(Extras { patches: true, ..Extras::default() });
        let program = compile(&environment, text, Returns::Patches)?;
        let activation = Activation::new();
        let result = program.evaluate(&activation, &mut Budget::default());
        let patch = patch_of(&result.map_err(|error| error.to_string())?)?;
        apply(&json!({"metadata": {"labels": {"a": "b"}}, "spec": {}}), &patch)
    }

    #[test]
    fn patches_of_expressions_are_applied() {
        let same = json!({"metadata": {"labels": {"a": "b"}}, "spec": {}});
        let cases = [
            (
                r#"[JSONPatch{op: "add", path: "/spec/replicas", value: 3}]"#,
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 3}}),
            ),
            (
                r#"[JSONPatch{op: "add", path: "/spec/a", value: Object.spec.a{b: ["c"]}}]"#,
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"a": {"b": ["c"]}}}),
            ),
            (
                r#"[JSONPatch{op: "move", from: "/metadata/labels", path: "/spec/labels"}]"#,
                json!({"metadata": {}, "spec": {"labels": {"a": "b"}}}),
            ),
            (
                r#"[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("x/y"), value: "z"}]"#,
                json!({"metadata": {"labels": {"a": "b", "x/y": "z"}}, "spec": {}}),
            ),
            (
                r#"[JSONPatch{op: "test", path: "/spec", value: 1}, JSONPatch{op: "remove", path: "/spec"}]"#,
                same,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(run(text).unwrap(), expected, "{text}");
        }
        assert!(
            run(r#"[JSONPatch{op: "remove", path: "/none"}]"#)
                .unwrap_err()
                .starts_with("JSON Patch: ")
        );
    }
}
