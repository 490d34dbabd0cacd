//! What is known of a variable before there is a value: its type, and how large it can get.
//!
//! Sizes bound what a rule can cost. They are upstream's estimates, from the bounds in a schema and from
//! how much fits into one request.

use std::collections::BTreeMap;
use std::sync::Arc;

use schema::{Kind, Schema};
use serde_json::Value as Json;

use crate::limits::{REQUEST_BYTES_MAX, SHAPE_DEPTH_MAX};
use crate::names::escape;
use crate::types::{ObjectType, Type};

/// Smallest JSON forms in bytes.
const STRING_BYTES_MIN: u64 = 2;
const NUMBER_BYTES_MIN: u64 = 1;
const BOOL_BYTES_MIN: u64 = 4;
const DATE_BYTES: u64 = 12;
const DATE_TIME_BYTES_MIN: u64 = 21;
const DURATION_BYTES_MIN: u64 = 3;
/// Longest dates, with their quotes.
const DATE_TIME_BYTES_MAX: u64 = 32;
/// Bytes that a character may have.
const CHARACTER_BYTES_MAX: u64 = 4;
/// What every resource has, whatever its schema says.
const RESOURCE_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The type of a variable or of a part of it, with the sizes that its schema allows.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The type.
    pub ty: Type,
    /// The largest size (characters, items or entries), if there is one.
    pub size_max: Option<u64>,
    /// The smallest JSON form in bytes.
    pub(crate) bytes_min: u64,
    /// Fields by the names that expressions use.
    pub(crate) fields: BTreeMap<Arc<str>, Self>,
    /// Items of a list, or values of a map.
    pub(crate) element: Option<Arc<Self>>,
}

impl From<Type> for Shape {
    fn from(ty: Type) -> Self {
        let bytes_min = match ty {
            Type::Bool => BOOL_BYTES_MIN,
            Type::String => STRING_BYTES_MIN,
            _ => NUMBER_BYTES_MIN,
        };
        Self { ty, size_max: None, bytes_min, fields: BTreeMap::new(), element: None }
    }
}

impl Shape {
    /// A shape of which nothing is known.
    pub fn dynamic() -> Self {
        Self::from(Type::Dyn)
    }

    /// The shape of values under a schema; none if expressions may not see them, because the schema says
    /// too little. `resource` is set for the root of an object, which has `apiVersion`, `kind` and
    /// `metadata`. `name` is the prefix of the types' names.
    pub fn of_schema(schema: &Schema, resource: bool, name: &str) -> Option<Self> {
        of_schema(schema, resource, name, 0)
    }

    /// A field, by the name that expressions use.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.fields.get(name)
    }

    /// The items of a list or the values of a map.
    pub fn element(&self) -> Option<&Self> {
        self.element.as_deref()
    }

    /// How often such a value can occur in one object, by how much fits into a request.
    pub fn occurrences_max(&self) -> u64 {
        REQUEST_BYTES_MAX / (self.bytes_min + 1)
    }

    /// The same shape where a value may be absent.
    #[must_use]
    pub fn optional(self) -> Self {
        Self::from(Type::optional(self.ty))
    }

    /// Whether nothing at all is known.
    pub(crate) fn is_unknown(&self) -> bool {
        self.ty == Type::Dyn && self.size_max.is_none()
    }

    /// The largest size of the part at a path of fields, `@items`, `@keys` and `@values`; none if there
    /// is no such part or nothing is known of it. What has no size counts for nothing, as upstream has it.
    pub(crate) fn size_at(&self, path: &[Arc<str>]) -> Option<u64> {
        let Some((step, rest)) = path.split_first() else {
            return (!self.is_unknown()).then(|| self.size_max.unwrap_or(0));
        };
        match &**step {
            "@items" | "@values" => self.element.as_deref()?.size_at(rest),
            // A schema cannot bound the keys of a map, and upstream counts them for nothing.
            "@keys" => (matches!(self.ty, Type::Map(_)) && rest.is_empty()).then_some(0),
            name => self.fields.get(name)?.size_at(rest),
        }
    }

    fn sized(ty: Type, size_max: u64, bytes_min: u64) -> Self {
        Self { size_max: Some(size_max), bytes_min, ..Self::from(ty) }
    }
}

fn bound(schema: &Schema, keyword: &str) -> Option<u64> {
    let value = schema.keyword(keyword)?;
    value.as_i64().map(|bound| u64::try_from(bound).unwrap_or(0)).or_else(|| value.as_u64())
}

fn of_schema(schema: &Schema, resource: bool, name: &str, depth: usize) -> Option<Shape> {
    if depth > SHAPE_DEPTH_MAX {
        return Some(Shape::dynamic());
    }
    let resource = resource || schema.embedded_resource();
    match schema.kind() {
        Kind::IntOrString | Kind::Quantity => {
            Some(Shape::sized(Type::Dyn, REQUEST_BYTES_MAX - 2, NUMBER_BYTES_MIN))
        }
        Kind::Any if resource => Some(object(schema, resource, name, depth)),
        Kind::Any => None,
        Kind::Object => Some(object(schema, resource, name, depth)),
        Kind::Map => map(schema, name, depth),
        Kind::Array => array(schema, name, depth),
        Kind::String => Some(string(schema)),
        Kind::Integer => Some(Shape::from(Type::Int)),
        Kind::Number => Some(Shape::from(Type::Double)),
        Kind::Boolean => Some(Shape::from(Type::Bool)),
    }
}

fn array(schema: &Schema, name: &str, depth: usize) -> Option<Shape> {
    let element = of_schema(&schema.items()?, false, &format!("{name}.@idx"), depth + 1)?;
    let size_max = bound(schema, "maxItems")
        .unwrap_or_else(|| (REQUEST_BYTES_MAX - 2) / (element.bytes_min + 1));
    let list = Shape::sized(Type::list(element.ty.clone()), size_max, STRING_BYTES_MIN);
    Some(Shape { element: Some(Arc::new(element)), ..list })
}

fn map(schema: &Schema, name: &str, depth: usize) -> Option<Shape> {
    let element = of_schema(&schema.values()?, false, &format!("{name}.@elem"), depth + 1)?;
    let size_max = bound(schema, "maxProperties")
        .unwrap_or_else(|| (REQUEST_BYTES_MAX - 2) / (element.bytes_min + 6));
    let map = Shape::sized(Type::map(Type::String, element.ty.clone()), size_max, STRING_BYTES_MIN);
    Some(Shape { element: Some(Arc::new(element)), ..map })
}

fn object(schema: &Schema, resource: bool, name: &str, depth: usize) -> Shape {
    let mut fields = BTreeMap::new();
    let mut bytes_min = 2;
    let mut add = |field: &str, shape: Shape, defaulted: bool| {
        let required = schema.required().iter().any(|required| required == field);
        if required && !defaulted {
            bytes_min += field.len() as u64 + shape.bytes_min + 4;
        }
        // What no expression can name takes room in a request all the same.
        if let Some(escaped) = escape(field) {
            fields.insert(Arc::from(&*escaped), shape);
        }
    };
    for (field, property) in schema.properties() {
        if resource && RESOURCE_FIELDS.contains(&field) {
            continue;
        }
        let inner_name = format!("{name}.{}", escape(field).unwrap_or_default());
        if let Some(shape) = of_schema(&property, false, &inner_name, depth + 1) {
            add(field, shape, property.default().is_some());
        }
    }
    if resource {
        for field in RESOURCE_FIELDS {
            add(field, resource_field(field, name), false);
        }
    }
    assemble(name, fields, bytes_min)
}

/// What expressions see of a field that every resource has.
fn resource_field(field: &str, name: &str) -> Shape {
    let text = || Shape::sized(Type::String, REQUEST_BYTES_MAX - 2, STRING_BYTES_MIN);
    if field != "metadata" {
        return text();
    }
    let fields = [("generateName".into(), text()), ("name".into(), text())];
    assemble(&format!("{name}.metadata"), fields.into(), 2)
}

fn assemble(name: &str, fields: BTreeMap<Arc<str>, Shape>, bytes_min: u64) -> Shape {
    let types = fields.iter().map(|(name, shape)| (Arc::clone(name), shape.ty.clone())).collect();
    let ty = Type::Object(Arc::new(ObjectType { name: name.into(), fields: types, open: false }));
    Shape { ty, size_max: None, bytes_min, fields, element: None }
}

fn string(schema: &Schema) -> Shape {
    let max_length = bound(schema, "maxLength");
    match schema.format() {
        Some("byte") => {
            let size = max_length.unwrap_or(REQUEST_BYTES_MAX - 2);
            Shape::sized(Type::Bytes, size, STRING_BYTES_MIN)
        }
        Some("duration") => Shape::sized(Type::Duration, DATE_TIME_BYTES_MAX, DURATION_BYTES_MIN),
        Some("date") => Shape::sized(Type::Timestamp, DATE_BYTES, DATE_BYTES),
        Some("date-time") => {
            Shape::sized(Type::Timestamp, DATE_TIME_BYTES_MAX, DATE_TIME_BYTES_MIN)
        }
        _ => {
            let longest = || {
                let lengths = schema.enum_values().iter().filter_map(Json::as_str).map(str::len);
                lengths.max().map(|length| length as u64)
            };
            let size = match max_length {
                Some(length) => length.saturating_mul(CHARACTER_BYTES_MAX),
                None => longest().unwrap_or(REQUEST_BYTES_MAX - 2),
            };
            Shape::sized(Type::String, size, STRING_BYTES_MIN)
        }
    }
}
