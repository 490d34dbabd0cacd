//! JSON patch (RFC 6902) and JSON merge patch (RFC 7396).
//!
//! A patch of a few kilobytes can ask for any amount of memory and depth by copying and moving, so both are bounded
//! here, not by the size of the request.

use json_patch::PatchOperation;
use json_patch::jsonptr::Pointer;
use serde_json::Value;

/// Most operations of one JSON patch, as upstream's.
pub const OPERATIONS_MAX: usize = 10_000;
/// Most bytes that the `copy` operations of one JSON patch add together, as upstream's.
pub const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Deepest nesting that a JSON patch may lead to.
pub const DEPTH_MAX: usize = 512;

/// Why a JSON patch was not applied.
#[derive(Debug, thiserror::Error)]
pub enum JsonPatchError {
    /// It is not a list of operations.
    #[error("error decoding patch: {0}")]
    Malformed(String),
    /// It has too many operations.
    #[error("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {0}")]
    TooMany(usize),
    /// An operation has no meaning.
    #[error("the server rejected our request due to an error in our request")]
    Unknown(#[source] serde_json::Error),
    /// An operation does not fit the object.
    #[error("the server rejected our request due to an error in our request")]
    DoesNotFit(#[source] json_patch::PatchError),
    /// It copies too much.
    #[error(
        "Unable to complete the copy, the accumulated size increase of copy is {0}, exceeding the limit {COPIED_BYTES_MAX}"
    )]
    CopiesTooMuch(usize),
    /// It nests too deep.
    #[error("the patched object would be nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// Applies a JSON patch; on error the object is as before.
///
/// # Errors
/// See [`JsonPatchError`].
pub fn apply(object: &mut Value, patch: &Value) -> Result<(), JsonPatchError> {
    let operations = operations_of(patch)?;
    if operations.len() > OPERATIONS_MAX {
        return Err(JsonPatchError::TooMany(operations.len()));
    }
    let patch: json_patch::Patch =
        serde_json::from_value(patch.clone()).map_err(JsonPatchError::Unknown)?;
    let mut patching = Patching { depth_max: depth(object), object: object.clone(), copied: 0 };
    for (number, operation) in patch.0.iter().enumerate() {
        patching.carry_out(number, operation)?;
    }
    *object = patching.object;
    Ok(())
}

/// The operations as they came, in Go's words if the patch is not a list of objects.
fn operations_of(patch: &Value) -> Result<&[Value], JsonPatchError> {
    const OPERATION: &str = "handlers.jsonPatchOp";
    let wrong = |found: &Value, list: &str| {
        let found = go_kind(found);
        let text =
            format!("json: cannot unmarshal {found} into Go value of type {list}{OPERATION}");
        JsonPatchError::Malformed(text)
    };
    let operations = patch.as_array().ok_or_else(|| wrong(patch, "[]"))?;
    match operations.iter().find(|operation| !operation.is_object()) {
        Some(other) => Err(wrong(other, "")),
        None => Ok(operations),
    }
}

/// What Go's decoder calls a value.
pub fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// An object on its way through a patch.
struct Patching {
    object: Value,
    /// The object is at most this deep.
    depth_max: usize,
    /// Bytes copied so far.
    copied: usize,
}

impl Patching {
    fn carry_out(
        &mut self,
        number: usize,
        operation: &PatchOperation,
    ) -> Result<(), JsonPatchError> {
        if let PatchOperation::Copy(copy) = operation
            && let Some(source) = self.object.pointer(copy.from.as_str())
        {
            self.copied += source.to_string().len();
            if self.copied > COPIED_BYTES_MAX {
                return Err(JsonPatchError::CopiesTooMuch(self.copied));
            }
        }
        self.deepen(operation)?;
        if self.adds(operation) {
            return Ok(());
        }
        // One at a time on a copy of our own: the library's way back after a failure does not always lead back.
        json_patch::patch_unsafe(&mut self.object, std::slice::from_ref(operation)).map_err(
            |mut error| {
                error.operation = number;
                JsonPatchError::DoesNotFit(error)
            },
        )
    }

    /// Carries out a replacement of a field that is not there: the RFC refuses it, upstream's library adds the field,
    /// and clients have come to rely on that.
    fn adds(&mut self, operation: &PatchOperation) -> bool {
        let PatchOperation::Replace(replace) = operation else { return false };
        let Some((parent, field)) = replace.path.split_back() else { return false };
        match parent.resolve_mut(&mut self.object) {
            Ok(Value::Object(fields)) if !fields.contains_key(&*field.decoded()) => {
                fields.insert(field.decoded().into_owned(), replace.value.clone());
                true
            }
            _ => false,
        }
    }

    /// Refuses what would lead too deep. The estimate only errs upwards, and is made exact before it refuses.
    fn deepen(&mut self, operation: &PatchOperation) -> Result<(), JsonPatchError> {
        let estimate = self.estimate(operation);
        if estimate <= DEPTH_MAX {
            self.depth_max = self.depth_max.max(estimate);
            return Ok(());
        }
        self.depth_max = depth(&self.object);
        let estimate = self.estimate(operation);
        if estimate > DEPTH_MAX {
            return Err(JsonPatchError::TooDeep);
        }
        self.depth_max = self.depth_max.max(estimate);
        Ok(())
    }

    /// How deep the place that an operation writes to will reach at most.
    fn estimate(&self, operation: &PatchOperation) -> usize {
        let moved = |from: &Pointer, path: &Pointer| {
            path.count() + self.depth_max.saturating_sub(from.count())
        };
        match operation {
            PatchOperation::Add(add) => add.path.count() + depth(&add.value),
            PatchOperation::Replace(replace) => replace.path.count() + depth(&replace.value),
            PatchOperation::Copy(copy) => moved(&copy.from, &copy.path),
            PatchOperation::Move(way) => moved(&way.from, &way.path),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => 0,
        }
    }
}

/// How deep a value is nested; 0 for a scalar.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Applies a merge patch.
pub fn merge(object: &mut Value, patch: &Value) {
    json_patch::merge(object, patch);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn refused(object: &Value, patch: &Value) -> String {
        let mut patched = object.clone();
        let error = apply(&mut patched, patch).unwrap_err();
        assert_eq!(patched, *object, "{patch}");
        error.to_string()
    }

    #[test]
    fn a_failure_leaves_the_object_as_it_was() {
        let object = json!({"a": {}, "c": 1});
        let operations = [
            json!({"op": "add", "path": "/a/b", "value": 1}),
            json!({"op": "remove", "path": "/c"}),
            json!({"op": "move", "from": "/a", "path": "/none/of/it"}),
        ];
        let text = "the server rejected our request due to an error in our request";
        assert_eq!(refused(&object, &json!(operations)), text);
        assert_eq!(refused(&object, &json!([{"op": "test", "path": "/c", "value": 2}])), text);
        for unknown in [json!([{"op": "grow"}]), json!([{"op": "remove", "path": "no slash"}])] {
            assert_eq!(refused(&object, &unknown), text);
        }
        for (malformed, why) in [
            (json!({}), "object into Go value of type []handlers.jsonPatchOp"),
            (json!(["x"]), "string into Go value of type handlers.jsonPatchOp"),
        ] {
            let text = format!("error decoding patch: json: cannot unmarshal {why}");
            assert_eq!(refused(&object, &malformed), text);
        }
    }

    #[test]
    fn a_field_that_is_not_there_is_replaced_all_the_same() {
        let mut object = json!({"metadata": {"name": "n"}, "list": [1]});
        let patch = json!([{"op": "replace", "path": "/metadata/a~1b", "value": {"c": 1}}]);
        apply(&mut object, &patch).unwrap();
        assert_eq!(object["metadata"], json!({"name": "n", "a/b": {"c": 1}}));
        for path in ["/list/1", "/none/field", "/list/name"] {
            refused(&object, &json!([{"op": "replace", "path": path, "value": 1}]));
        }
    }

    #[test]
    fn copies_are_bounded() {
        let doubling: Vec<Value> = (0..64)
            .map(|number| json!({"op": "copy", "from": "", "path": format!("/{number}")}))
            .collect();
        let message = refused(&json!({"a": "x".repeat(100)}), &json!(doubling));
        assert!(message.starts_with("Unable to complete the copy, "), "{message}");
        assert!(message.ends_with("exceeding the limit 3145728"), "{message}");
    }

    #[test]
    fn depth_is_bounded() {
        let message = "the patched object would be nested deeper than 512 levels";
        let inwards = |count: usize| -> Vec<Value> {
            let step = |_| {
                [
                    json!({"op": "move", "from": "/a", "path": "/b/x"}),
                    json!({"op": "move", "from": "/b", "path": "/a"}),
                    json!({"op": "add", "path": "/b", "value": {}}),
                ]
            };
            (0..count).flat_map(step).collect()
        };
        assert_eq!(refused(&json!({"a": {}, "b": {}}), &json!(inwards(600))), message);
        assert!(apply(&mut json!({"a": {}, "b": {}}), &json!(inwards(400))).is_ok());
        // Deepening and flattening again is no fault.
        let swing: Vec<Value> = (0..1000)
            .flat_map(|_| {
                [
                    json!({"op": "copy", "from": "/a", "path": "/b/x"}),
                    json!({"op": "replace", "path": "/b", "value": {}}),
                ]
            })
            .collect();
        assert!(apply(&mut json!({"a": {}, "b": {}}), &json!(swing)).is_ok());
    }

    fn any_operation() -> impl Strategy<Value = Value> {
        let path = || {
            prop::collection::vec(
                prop::sample::select(vec!["", "/a", "/b", "/0", "/-", "/~1"]),
                0..3,
            )
            .prop_map(|parts| parts.concat())
        };
        let name = prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test"]);
        let value = prop::sample::select(vec![json!(1), json!({}), json!([[]]), json!({"a": [1]})]);
        (name, path(), path(), value).prop_map(
            |(op, from, path, value)| json!({"op": op, "from": from, "path": path, "value": value}),
        )
    }

    proptest! {
        #[test]
        fn any_patch_applies_or_leaves_no_trace(
            operations in prop::collection::vec(any_operation(), 0..12),
        ) {
            let object = json!({"a": {"a": [1, 2]}, "b": [{"a": {}}]});
            let mut patched = object.clone();
            if apply(&mut patched, &Value::Array(operations)).is_err() {
                prop_assert_eq!(patched, object);
            }
        }
    }
}
