//! Reading and writing `metadata` in an object tree.

use serde_json::{Map, Value};

/// A field of the metadata.
pub fn get<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get("metadata")?.get(field)
}

/// A string field of the metadata, empty when missing.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    get(object, field).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// `metadata.namespace`.
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// `metadata.generation`, 0 when missing.
pub fn generation(object: &Value) -> i64 {
    get(object, "generation").and_then(Value::as_i64).unwrap_or_default()
}

/// The value of a label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    get(object, "labels")?.get(key)?.as_str()
}

/// The value of an annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    get(object, "annotations")?.get(key)?.as_str()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> Vec<&str> {
    let list = get(object, "finalizers").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether `metadata.deletionTimestamp` is set.
pub fn is_deleting(object: &Value) -> bool {
    get(object, "deletionTimestamp").is_some_and(|time| !time.is_null())
}

/// The metadata as a map, made when missing. `object` becomes an object when it is none.
pub fn map_mut(object: &mut Value) -> &mut Map<String, Value> {
    object_mut(child_mut(object, "metadata"))
}

/// Sets a field of the metadata.
pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    map_mut(object).insert(field.to_owned(), value.into());
}

/// Removes a field of the metadata.
pub fn remove(object: &mut Value, field: &str) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove(field);
    }
}

/// Gives `new` the metadata fields of `old`: what a subresource leaves alone.
pub fn keep(new: &mut Value, old: &Value, fields: &[&str]) {
    for field in fields {
        match get(old, field) {
            Some(value) => set(new, field, value.clone()),
            None => remove(new, field),
        }
    }
}

/// What the status subresource leaves alone on the kinds that guard their metadata.
pub const NOT_OF_STATUS: &[&str] =
    &["annotations", "deletionTimestamp", "finalizers", "generation", "labels", "ownerReferences"];

/// The field `key` of an object tree, made (as null) when missing.
pub fn child_mut<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    object_mut(object).entry(key).or_insert(Value::Null)
}

/// `value` as a map; anything that is not a map becomes an empty one.
pub fn object_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("just made an object"),
    }
}
