//! Short ways to read and fill an object tree. A null field counts as missing everywhere.
//!
//! Not here: anything that knows what a field means.

use api::quantity::Quantity;
use serde_json::{Map, Value};

/// The value at a JSON pointer, unless it is null.
pub(crate) fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    api::pointer::at(object, pointer).filter(|value| !value.is_null())
}

/// The text at a pointer, empty when missing.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The whole number at a pointer.
pub(crate) fn int(object: &Value, pointer: &str) -> Option<i64> {
    at(object, pointer).and_then(Value::as_i64)
}

/// The flag at a pointer.
pub(crate) fn flag(object: &Value, pointer: &str) -> Option<bool> {
    at(object, pointer).and_then(Value::as_bool)
}

/// The items at a pointer, none when missing.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The texts of the list at a pointer.
pub(crate) fn texts<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a str> {
    list(object, pointer).iter().filter_map(Value::as_str)
}

/// The entries of the map at a pointer.
pub(crate) fn entries<'a>(
    object: &'a Value,
    pointer: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    at(object, pointer).and_then(Value::as_object).into_iter().flatten()
}

/// Whether nothing within the value says anything: null, false, 0, empty.
fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_hollow),
    }
}

/// Whether two values mean the same: what says nothing equals what is missing, at any depth.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let covers = |a: &Map<String, Value>, b: &Map<String, Value>| {
                a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(&Value::Null)))
            };
            covers(left, right) && covers(right, left)
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(a, b)| same(a, b))
        }
        _ => left == right || (is_hollow(left) && is_hollow(right)),
    }
}

/// Whether the values at a pointer mean the same.
pub(crate) fn same_at(left: &Value, right: &Value, pointer: &str) -> bool {
    let null = &Value::Null;
    let place = |object| api::pointer::at(object, pointer).unwrap_or(null);
    same(place(left), place(right))
}

/// Whether two maps of quantities hold the same amounts, however they are written.
pub(crate) fn same_amounts(left: &Value, right: &Value) -> bool {
    let amounts = |value: &Value| -> Vec<(String, Option<Quantity>)> {
        let mut all: Vec<_> = value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, amount)| (name.clone(), Quantity::from_json(amount).ok()))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    amounts(left) == amounts(right)
}

/// A field as a map to change; anything else that was there is replaced.
pub(crate) fn make<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    let field = api::meta::child_mut(object, key);
    api::meta::object_mut(field);
    field
}

/// A field as a list to change; anything else that was there is replaced.
pub(crate) fn make_list<'a>(object: &'a mut Value, key: &str) -> &'a mut Vec<Value> {
    let field = api::meta::child_mut(object, key);
    if !field.is_array() {
        *field = Value::Array(Vec::new());
    }
    match field {
        Value::Array(items) => items,
        _ => unreachable!("just made a list"),
    }
}

/// `["a", "b"]` as upstream joins names: `"a", "b"`.
pub(crate) fn join_quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<String> =
        items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_the_same_however_written() {
        assert!(same_amounts(&json!({"cpu": "1000m", "m": "1Ki"}), &json!({"m": 1024, "cpu": 1})));
        assert!(!same_amounts(&json!({"cpu": "1"}), &json!({})));
    }

    #[test]
    fn what_says_nothing_is_missing() {
        assert!(same(&json!({"a": null, "b": {}}), &json!({})));
        assert!(!same(&json!({"a": 1}), &json!({})));
    }
}
