//! Short ways to read and fill an object tree. A null field counts as missing everywhere.

use serde_json::{Map, Value};

/// The value at a JSON pointer, unless it is null.
pub(super) fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    crate::pointer::at(object, pointer).filter(|value| !value.is_null())
}

/// The text at a pointer, empty when missing.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The whole number at a pointer.
pub(super) fn int(object: &Value, pointer: &str) -> Option<i64> {
    at(object, pointer).and_then(Value::as_i64)
}

/// The whole number at a pointer, 0 when missing.
pub(super) fn count(object: &Value, pointer: &str) -> i64 {
    int(object, pointer).unwrap_or_default()
}

/// The flag at a pointer, false when missing.
pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    at(object, pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The items at a pointer, none when missing.
pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The texts of the list at a pointer.
pub(super) fn texts<'a>(object: &'a Value, pointer: &str) -> Vec<&'a str> {
    list(object, pointer).iter().filter_map(Value::as_str).collect()
}

/// The entries of the map at a pointer.
pub(super) fn entries<'a>(
    object: &'a Value,
    pointer: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    at(object, pointer).and_then(Value::as_object).into_iter().flatten()
}

/// Whether the value says nothing: null, false, 0, or an empty text, list or map. What Go's API types leave
/// out of JSON where a field is no pointer.
pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Whether two values mean the same: what says nothing equals what is missing, at any depth.
pub(super) fn same(left: &Value, right: &Value) -> bool {
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

/// Whether nothing within the value says anything.
fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().all(is_hollow),
        _ => is_zero(value),
    }
}

/// Whether the values at a pointer mean the same.
pub(super) fn same_at(left: &Value, right: &Value, pointer: &str) -> bool {
    let null = &Value::Null;
    let place = |object| crate::pointer::at(object, pointer).unwrap_or(null);
    same(place(left), place(right))
}

/// Sets a field of a map that is missing: for fields where 0 and an empty text mean something.
pub(super) fn fill(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut()
        && map.get(key).is_none_or(Value::is_null)
    {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets a field of a map that is missing or says nothing.
pub(super) fn fill_zero(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut()
        && map.get(key).is_none_or(is_zero)
    {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets a field of a map.
pub(super) fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value.into());
    }
}

/// Removes a field of a map.
pub(super) fn remove(object: &mut Value, key: &str) -> Option<Value> {
    object.as_object_mut()?.remove(key)
}

/// Makes the field of `new` what it is in `old`.
pub(super) fn restore(new: &mut Value, old: &Value, key: &str) {
    match old.get(key) {
        Some(value) => set(new, key, value.clone()),
        None => drop(remove(new, key)),
    }
}

/// A field that is there, to change it.
pub(super) fn child<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    object.get_mut(key).filter(|value| !value.is_null())
}

/// A field as a map to change, made when missing; a value of another type stays.
pub(super) fn make<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    let field = crate::meta::child_mut(object, key);
    if field.is_null() {
        *field = Value::Object(Map::new());
    }
    field
}

/// The value at a pointer, to change it, if it is there.
pub(super) fn at_mut<'a>(object: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    crate::pointer::at_mut(object, pointer).filter(|value| !value.is_null())
}

/// Changes every item of a list field.
pub(super) fn each(object: &mut Value, key: &str, change: impl FnMut(&mut Value)) {
    if let Some(items) = object.get_mut(key).and_then(Value::as_array_mut) {
        items.iter_mut().for_each(change);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_says_nothing_is_the_same_as_nothing() {
        let same_cases = [
            (json!({"a": null, "b": []}), json!({})),
            (json!({"a": {"b": ""}}), json!({"c": 0})),
            (json!([{"a": false}]), json!([{}])),
            (json!(null), json!({})),
        ];
        for (left, right) in same_cases {
            assert!(same(&left, &right), "{left} {right}");
        }
        for (left, right) in [(json!({"a": 1}), json!({})), (json!([{}]), json!([]))] {
            assert!(!same(&left, &right), "{left} {right}");
        }
    }
}
