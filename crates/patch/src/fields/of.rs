//! The set of all fields of an object, as owned by who applies it; and whether it may be applied.

use schema::{Kind, ListType, Schema};
use serde_json::{Map, Value};

use super::element::{Shape, any, field_schema, shape};
use super::{Element, FieldSet, item_element};

/// The fields that an applied object sets. Items without identity are left out; [`validate`] refuses
/// them before.
pub fn of_object(object: &Value, schema: &Schema) -> FieldSet {
    inside(object, schema)
}

/// The members below a value.
fn inside(value: &Value, schema: &Schema) -> FieldSet {
    match (shape(schema, value), value) {
        (Shape::Map, Value::Object(map)) => of_map(map, schema),
        (Shape::List, Value::Array(items)) => of_list(items, schema),
        _ => FieldSet::new(),
    }
}

fn of_map(map: &Map<String, Value>, schema: &Schema) -> FieldSet {
    let mut set = FieldSet::new();
    for (key, value) in map {
        let (child, named) = field_schema(schema, key).unwrap_or_else(|| (any(), false));
        let leaf = shape(&child, value) == Shape::Leaf;
        let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        set.attach(Element::field(key), leaf || empty || !named, inside(value, &child));
    }
    set
}

fn of_list(items: &[Value], schema: &Schema) -> FieldSet {
    let item_schema = schema.items().unwrap_or_else(any);
    let mut set = FieldSet::new();
    let mut repeated = Vec::new();
    for item in items {
        let Ok(element) = item_element(schema, item) else { continue };
        if set.has_member(&element) {
            repeated.push(element);
        } else {
            set.attach(element, true, inside(item, &item_schema));
        }
    }
    // Of an item that occurs twice nobody owns the inside.
    for element in repeated {
        set.node_mut(&element).below = FieldSet::new();
    }
    set
}

/// Faults of an object that is to be applied, in upstream's words: fields that the schema does not
/// know, values of the wrong type, items without identity or with the same.
pub(crate) fn validate(object: &Value, schema: &Schema) -> Vec<String> {
    let mut faults = Vec::new();
    check(object, schema, &mut String::new(), &mut faults);
    faults
}

fn check(value: &Value, schema: &Schema, path: &mut String, faults: &mut Vec<String>) {
    let mut wrong = |text: String| {
        let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
        faults.push(format!("{place}{text}"));
    };
    match (schema.kind(), value) {
        (_, Value::Null) => {}
        (Kind::Object | Kind::Map | Kind::Any, Value::Object(map)) => {
            check_map(map, schema, path, faults);
        }
        (Kind::Array, Value::Array(items)) => check_list(items, schema, path, faults),
        (Kind::Object | Kind::Map, other) => {
            wrong(format!("expected map, got &{{{}}}", go_value(other)))
        }
        (Kind::Array, other) => wrong(format!("expected list, got &{{{}}}", go_value(other))),
        (Kind::Integer | Kind::Number, other) if !other.is_number() => {
            wrong(format!("expected numeric (int or float), got {}", go_type(other)));
        }
        (Kind::String, other) if !other.is_string() => {
            wrong(format!(
                "expected string, got &value.valueUnstructured{{Value:{}}}",
                go_literal(other)
            ));
        }
        (Kind::Boolean, other) if !other.is_boolean() => {
            wrong(format!("expected boolean, got &{{{}}}", go_value(other)));
        }
        (Kind::IntOrString | Kind::Quantity, other @ (Value::Object(_) | Value::Array(_))) => {
            wrong(format!("expected any scalar, got &{{{}}}", go_value(other)));
        }
        _ => {}
    }
}

fn check_map(
    map: &Map<String, Value>,
    schema: &Schema,
    path: &mut String,
    faults: &mut Vec<String>,
) {
    for (key, value) in map {
        let length = path.len();
        path.push('.');
        path.push_str(key);
        match field_schema(schema, key) {
            Some((child, _)) => check(value, &child, path, faults),
            None => faults.push(format!("{path}: field not declared in schema")),
        }
        path.truncate(length);
    }
}

fn check_list(items: &[Value], schema: &Schema, path: &mut String, faults: &mut Vec<String>) {
    let item_schema = schema.items().unwrap_or_else(any);
    let mut seen: Vec<Element> = Vec::new();
    let length = path.len();
    for (index, item) in items.iter().enumerate() {
        let element = if schema.list_type() == ListType::Atomic {
            Element::Index(i64::try_from(index).unwrap_or(i64::MAX))
        } else {
            match item_element(schema, item) {
                Ok(element) => element,
                Err(error) => {
                    faults.push(format!("{path}: element {index}: {error}"));
                    return;
                }
            }
        };
        if schema.list_type() != ListType::Atomic {
            match seen.binary_search(&element) {
                Ok(_) => faults.push(format!("{path}: duplicate entries for key {element}")),
                Err(at) => seen.insert(at, element.clone()),
            }
        }
        path.push_str(&element.to_string());
        check(item, &item_schema, path, faults);
        path.truncate(length);
    }
}

/// A value as Go prints it plainly.
fn go_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", go_value(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

/// A value as a literal of Go.
fn go_literal(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_literal).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key:?}:{}", go_literal(value))).collect();
            format!("map[string]interface {{}}{{{}}}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::Null => "<nil>",
    }
}
