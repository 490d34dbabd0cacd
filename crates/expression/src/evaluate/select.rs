//! Fields of values.

use crate::names::escaped_word;
use crate::value::{Map, Value};

/// The text of the failure where a value has no fields.
const NO_OVERLOAD: &str = "no such overload";

/// The value of a field; one whose name is a word of the language may be stored in its escaped form.
fn find<'a>(map: &'a Map, field: &str) -> Option<&'a Value> {
    map.field(field).or_else(|| map.field(&escaped_word(field)?))
}

/// Whether a value has a field.
pub(super) fn has(value: &Value, field: &str) -> Result<Value, String> {
    match value {
        Value::Map(map) => Ok(Value::Bool(find(map, field).is_some())),
        Value::Optional(None) => Ok(Value::Bool(false)),
        Value::Optional(Some(inner)) => has(inner, field),
        _ => Err(NO_OVERLOAD.to_owned()),
    }
}

/// A field; that of an optional value is optional.
pub(super) fn field(value: &Value, field: &str) -> Result<Value, String> {
    match value {
        Value::Map(map) => match find(map, field) {
            Some(value) => Ok(value.clone()),
            None => Err(format!("no such key: {field}")),
        },
        Value::Optional(_) => optional_field(value, field),
        _ => Err(NO_OVERLOAD.to_owned()),
    }
}

/// A field that may be absent.
pub(super) fn optional_field(value: &Value, field: &str) -> Result<Value, String> {
    match value {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => optional_field(inner, field),
        Value::Map(map) => Ok(match find(map, field) {
            Some(value) => Value::some(value.clone()),
            None => Value::Optional(None),
        }),
        _ => Err(NO_OVERLOAD.to_owned()),
    }
}
