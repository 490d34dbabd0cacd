//! One step of a field path, and how list items are told apart.

use std::cmp::Ordering;
use std::fmt;
use std::sync::LazyLock;

use schema::{Kind, ListType, MapType, Schema};
use serde_json::Value;

/// A schema for what has none.
static ANY: LazyLock<Schema> = LazyLock::new(Schema::any);

/// One step from an object or list into it.
#[derive(Clone, Debug)]
pub enum Element {
    /// A field of an object, or a key of a map.
    Field(Box<str>),
    /// The item of a list whose key fields have these values, sorted by field.
    Key(Vec<(Box<str>, Value)>),
    /// The item of a set.
    Value(Value),
    /// The item at a place; only old sets have these.
    Index(i64),
}

impl Element {
    /// A named field.
    pub fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => compare_keys(a, b),
            (Self::Value(a), Self::Value(b)) => compare_values(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Element {}

fn compare_keys(a: &[(Box<str>, Value)], b: &[(Box<str>, Value)]) -> Ordering {
    let mut orders = a.iter().zip(b).map(|((name, value), (other_name, other))| {
        name.cmp(other_name).then_with(|| compare_values(value, other))
    });
    orders.find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// A total order of JSON values; numbers are compared by their worth.
pub(crate) fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => {
                let worth = |number: &serde_json::Number| number.as_f64().unwrap_or_default();
                worth(a).total_cmp(&worth(b))
            }
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let orders = a.iter().zip(b).map(|(a, b)| compare_values(a, b));
            first_difference(orders).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let orders = a.iter().zip(b).map(|((key, value), (other_key, other))| {
                key.cmp(other_key).then_with(|| compare_values(value, other))
            });
            first_difference(orders).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => value_rank(a).cmp(&value_rank(b)),
    }
}

fn first_difference(mut orders: impl Iterator<Item = Ordering>) -> Option<Ordering> {
    orders.find(|order| order.is_ne())
}

fn value_rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                f.write_str("[")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{name}={value}")?;
                }
                f.write_str("]")
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// Why an item of a list has no identity of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListItemError {
    #[error("associative list with keys may not have a null element")]
    Null,
    #[error("associative list with keys may not have non-map elements")]
    NoMap,
    #[error(
        "associative list with keys has an element that omits key field {0:?} (and doesn't have default value)"
    )]
    NoKey(String),
    #[error("associative list without keys has an element that's a map type")]
    MapInSet,
    #[error("not supported: associative list with lists as elements")]
    ListInSet,
    #[error("associative list without keys has an element that's an explicit null")]
    NullInSet,
}

/// How an item of a granular list is told from its siblings.
pub(crate) fn item_element(list: &Schema, item: &Value) -> Result<Element, ListItemError> {
    if list.list_type() == ListType::Set {
        return match item {
            Value::Object(_) => Err(ListItemError::MapInSet),
            Value::Array(_) => Err(ListItemError::ListInSet),
            Value::Null => Err(ListItemError::NullInSet),
            scalar => Ok(Element::Value(scalar.clone())),
        };
    }
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err(ListItemError::Null),
        _ => return Err(ListItemError::NoMap),
    };
    let keys = list.list_map_keys();
    let mut fields = Vec::with_capacity(keys.len());
    for key in keys {
        let value = match map.get(key.as_ref()) {
            Some(value) => value.clone(),
            None => default_of(list, key).ok_or_else(|| ListItemError::NoKey(key.to_string()))?,
        };
        fields.push((Box::from(key.as_ref()), value));
    }
    fields.sort_by(|(a, _): &(Box<str>, Value), (b, _)| a.cmp(b));
    Ok(Element::Key(fields))
}

fn default_of(list: &Schema, key: &str) -> Option<Value> {
    list.items()?.property(key)?.default().cloned()
}

/// What kind of thing a value is to its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One indivisible value.
    Leaf,
    /// An object whose fields are owned one by one.
    Map,
    /// A list whose items are owned one by one.
    List,
}

/// How a value under a schema is divided. What does not fit its schema is one value.
pub(crate) fn shape(schema: &Schema, value: &Value) -> Shape {
    match (schema.kind(), value) {
        (Kind::Object | Kind::Map, Value::Object(_)) if schema.map_type() == MapType::Granular => {
            Shape::Map
        }
        (Kind::Any, Value::Object(_)) => Shape::Map,
        (Kind::Array, Value::Array(_)) if schema.list_type() != ListType::Atomic => Shape::List,
        _ => Shape::Leaf,
    }
}

/// Whether the values of a schema are owned as a whole although they have parts.
pub(crate) fn is_atomic(schema: &Schema) -> bool {
    match schema.kind() {
        Kind::Object | Kind::Map => schema.map_type() == MapType::Atomic,
        Kind::Array => schema.list_type() == ListType::Atomic,
        _ => false,
    }
}

/// The schema of a field, with whether the field is a named one; nothing when it is not known at all.
pub(crate) fn field_schema(schema: &Schema, name: &str) -> Option<(Schema, bool)> {
    match schema.kind() {
        Kind::Map => Some((schema.values().unwrap_or_else(any), false)),
        Kind::Object => match schema.property(name) {
            Some(child) => Some((child, true)),
            None if schema.preserve_unknown() || schema.properties().len() == 0 => {
                Some((any(), false))
            }
            None => None,
        },
        _ => Some((any(), false)),
    }
}

/// The schema below one element.
pub(crate) fn child_schema(schema: &Schema, element: &Element) -> Option<Schema> {
    match element {
        Element::Field(name) => field_schema(schema, name).map(|(child, _)| child),
        _ => schema.items(),
    }
}

/// The schema of what has none: objects field by field, lists as a whole.
pub(crate) fn any() -> Schema {
    ANY.clone()
}
