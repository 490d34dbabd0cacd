//! Fields of values.

use crate::value::Value;

/// The text of the failure where a value has no fields.
const NO_OVERLOAD: &str = "no such overload";

/// Whether a value has a field.
pub(super) fn has(value: &Value, field: &str) -> Result<Value, String> {
    match value {
        Value::Map(map) => Ok(Value::Bool(map.field(field).is_some())),
        Value::Optional(None) => Ok(Value::Bool(false)),
        Value::Optional(Some(inner)) => has(inner, field),
        _ => Err(NO_OVERLOAD.to_owned()),
    }
}

/// A field; that of an optional value is optional.
pub(super) fn field(value: &Value, field: &str) -> Result<Value, String> {
    match value {
        Value::Map(map) => match map.field(field) {
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
        Value::Map(map) => Ok(match map.field(field) {
            Some(value) => Value::some(value.clone()),
            None => Value::Optional(None),
        }),
        _ => Err(NO_OVERLOAD.to_owned()),
    }
}
