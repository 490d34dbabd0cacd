//! Values from JSON and to JSON.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use schema::{Kind, ListType, Schema};
use serde_json::Value as Json;
use thiserror::Error;

use super::{List, ListKind, Map, Value};
use crate::functions::time;
use crate::limits::VALUE_DEPTH_MAX;
use crate::names::escape;

/// Why a value has no JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ToJsonError {
    /// A value of this type cannot be written.
    #[error("unsupported type conversion from {0} to JSON")]
    Type(String),
    /// It is nested too deeply.
    #[error("the value is nested too deeply")]
    TooDeep,
}

impl Value {
    /// A value without a schema: what is nested too deeply is left out as null.
    pub fn from_json(json: &Json) -> Self {
        plain(json, 0)
    }

    /// A value under a schema: dates become timestamps, sets compare without order, the names of fields
    /// are escaped as expressions write them, and fields without a schema are not there unless the schema
    /// keeps unknown fields.
    pub fn from_json_with(json: &Json, schema: &Schema) -> Self {
        typed(json, schema, false, 0)
    }

    /// As [`Self::from_json_with`] for the root of a resource, or an embedded one: of its metadata an
    /// expression sees `name` and `generateName` only.
    pub fn from_resource(json: &Json, schema: &Schema) -> Self {
        typed(json, schema, true, 0)
    }

    /// The JSON form of a value. Dates are written as upstream does.
    ///
    /// # Errors
    /// A type that JSON does not have, such as an optional.
    pub fn to_json(&self) -> Result<Json, ToJsonError> {
        write(self, 0)
    }
}

fn plain(json: &Json, depth: usize) -> Value {
    if depth > VALUE_DEPTH_MAX {
        return Value::Null;
    }
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number_value(number),
        Json::String(text) => Value::string(text.as_str()),
        Json::Array(items) => {
            Value::list(items.iter().map(|item| plain(item, depth + 1)).collect())
        }
        Json::Object(map) => Value::map(
            map.iter()
                .map(|(key, value)| (Value::string(key.as_str()), plain(value, depth + 1)))
                .collect(),
        ),
    }
}

fn number_value(number: &serde_json::Number) -> Value {
    match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => Value::Int(whole),
        (None, double) => Value::Double(double.unwrap_or(f64::NAN)),
    }
}

fn typed(json: &Json, schema: &Schema, resource: bool, depth: usize) -> Value {
    if depth > VALUE_DEPTH_MAX {
        return Value::Null;
    }
    match (json, schema.kind()) {
        (Json::Null, _) => Value::Null,
        (Json::Object(_), Kind::Any) if !resource => plain(json, depth),
        (Json::Object(map), Kind::Object | Kind::Any) => object(map, schema, resource, depth),
        (Json::Object(map), Kind::Map) => {
            let Some(values) = schema.values() else { return plain(json, depth) };
            let entry = |(key, value): (&String, &Json)| {
                (Value::string(key.as_str()), typed(value, &values, false, depth + 1))
            };
            Value::map(map.iter().map(entry).collect())
        }
        (Json::Array(items), Kind::Array) => array(items, schema, depth),
        (Json::String(text), Kind::String) => string(text, schema.format()),
        (Json::Number(number), Kind::Number) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        (Json::Number(number), Kind::Integer) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            // A whole number that was written with a point.
            (None, Some(double)) if double.fract() == 0.0 => Value::Int(whole(double)),
            _ => plain(json, depth),
        },
        _ => plain(json, depth),
    }
}

fn object(
    map: &serde_json::Map<String, Json>,
    schema: &Schema,
    resource: bool,
    depth: usize,
) -> Value {
    let resource = resource || schema.embedded_resource();
    let keep = schema.preserve_unknown();
    let mut entries = Vec::with_capacity(map.len());
    for (name, value) in map {
        if resource && name == "metadata" {
            entries.push((Value::string("metadata"), metadata(value)));
            continue;
        }
        let inner = match schema.property(name) {
            Some(property) => typed(value, &property, false, depth + 1),
            None if resource && matches!(name.as_str(), "apiVersion" | "kind") => {
                plain(value, depth + 1)
            }
            None if keep => plain(value, depth + 1),
            None => continue,
        };
        // Null in a field is the same as no field.
        if !matches!(inner, Value::Null) {
            entries.push((Value::string(&*written(name)), inner));
        }
    }
    Value::map(entries)
}

/// The name of a field as expressions write it. One that they cannot write stays as it is: it still
/// matters to equality.
fn written(name: &str) -> Cow<'_, str> {
    escape(name).unwrap_or(Cow::Borrowed(name))
}

/// What expressions see of metadata.
fn metadata(json: &Json) -> Value {
    let seen = ["name", "generateName"].into_iter().filter_map(|name| {
        let value = json.get(name)?;
        Some((Value::string(name), plain(value, 0)))
    });
    Value::map(seen.collect())
}

fn array(items: &[Json], schema: &Schema, depth: usize) -> Value {
    let element = schema.items();
    let items: Vec<Value> = items
        .iter()
        .map(|item| match &element {
            Some(element) => typed(item, element, false, depth + 1),
            None => plain(item, depth + 1),
        })
        .collect();
    let kind = match schema.list_type() {
        ListType::Atomic => ListKind::Plain,
        ListType::Set => ListKind::Set,
        ListType::Map => {
            let keys: Vec<String> =
                schema.list_map_keys().iter().map(|key| written(key).into_owned()).collect();
            ListKind::Map(keys.into())
        }
    };
    Value::List(Arc::new(List::new(items, kind)))
}

/// A string whose format may make it something else. What does not parse stays a string; the schema's
/// own check has named it already.
fn string(text: &str, format: Option<&str>) -> Value {
    let special = match format {
        Some("date-time") => text.parse::<Timestamp>().ok().map(Value::Timestamp),
        Some("date") => text
            .parse::<jiff::civil::Date>()
            .ok()
            .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok())
            .map(|zoned| Value::Timestamp(zoned.timestamp())),
        Some("duration") => time::parse_duration(text).map(Value::Duration),
        Some("byte") => STANDARD.decode(text).ok().map(|bytes| Value::Bytes(bytes.into())),
        _ => None,
    };
    special.unwrap_or_else(|| Value::string(text))
}

fn write(value: &Value, depth: usize) -> Result<Json, ToJsonError> {
    if depth > VALUE_DEPTH_MAX {
        return Err(ToJsonError::TooDeep);
    }
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(number) => Json::from(*number),
        Value::Uint(number) => Json::from(*number),
        Value::Double(number) => Json::from(*number),
        Value::String(text) => Json::from(&**text),
        Value::Bytes(bytes) => Json::from(STANDARD.encode(bytes)),
        Value::Timestamp(time) => Json::from(time.to_string()),
        Value::Duration(span) => Json::from(time::format_duration(*span)),
        Value::List(list) => {
            Json::Array(list.items.iter().map(|v| write(v, depth + 1)).collect::<Result<_, _>>()?)
        }
        Value::Map(map) => write_map(map, depth)?,
        Value::Quantity(quantity) => Json::from(quantity.to_string()),
        other => return Err(ToJsonError::Type(other.type_of().to_string())),
    })
}

fn write_map(map: &Map, depth: usize) -> Result<Json, ToJsonError> {
    let mut out = serde_json::Map::with_capacity(map.entries.len());
    for (key, value) in &map.entries {
        let key = match key {
            Value::String(key) => key.to_string(),
            Value::Int(key) => key.to_string(),
            Value::Uint(key) => key.to_string(),
            Value::Bool(key) => key.to_string(),
            other => return Err(ToJsonError::Type(other.type_of().to_string())),
        };
        out.insert(key, write(value, depth + 1)?);
    }
    Ok(Json::Object(out))
}
#[expect(clippy::cast_possible_truncation, reason = "the cast stops at the last number there is")]
fn whole(double: f64) -> i64 {
    double as i64
}
