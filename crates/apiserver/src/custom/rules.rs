//! Rules of custom resources in CEL (`x-kubernetes-validations`): compiled once with their definition, checked
//! at every write.
//!
//! Which rules a definition may have is checked in `definition::rules`; the language is crate `expression`.

mod check;
mod compile;

use expression::Shape;
use schema::{ListType, Schema};
use serde_json::Value;

use crate::handle::text;

pub(super) use check::Found;
pub(super) use compile::{Compiled, compile, field_path};

/// Deeper than any structural schema may be.
const DEPTH_MAX: usize = 64;
/// The prefix of the names of types, which users see in messages of the compiler only.
const TYPE_NAME: &str = "selfType";

/// The rules of one version of a custom resource.
pub(super) struct Rules {
    root: Option<Node>,
}

/// The rules of one node of a schema, and of the nodes below it.
struct Node {
    schema: Schema,
    /// The JSON type, which upstream shows in place of the value.
    type_name: String,
    /// Whether values are whole objects, with `metadata`.
    resource: bool,
    rules: Vec<Compiled>,
    fields: Vec<(String, Self)>,
    /// Items of a list or values of a map.
    element: Option<Box<Self>>,
    all_of: Vec<Self>,
}

impl Rules {
    /// Compiles the rules of a schema. A rule that does not compile is reported when it is to be checked:
    /// its definition was not let in by this program.
    pub(super) fn new(open_api: &Value, schema: &Schema) -> Self {
        if !has_rules(open_api, 0) {
            return Self { root: None };
        }
        let shape = Shape::of_schema(schema, true, TYPE_NAME);
        Self { root: shape.and_then(|shape| node(open_api, schema, &shape, true, 0)) }
    }

    /// Whether there are any.
    pub(super) fn exist(&self) -> bool {
        self.root.is_some()
    }

    /// The faults of an object, and of its change if there is an `old` one. Faults of what did not change
    /// are tolerated.
    pub(super) fn check(&self, object: &Value, old: Option<&Value>) -> Found {
        self.root.as_ref().map_or_else(Found::default, |root| check::check(root, object, old))
    }
}

/// The child schemas in which rules matter.
fn has_rules(schema: &Value, depth: usize) -> bool {
    let own = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    if depth > DEPTH_MAX || own.is_some_and(|rules| !rules.is_empty()) {
        return true;
    }
    let below = |child: &Value| child.is_object() && has_rules(child, depth + 1);
    let properties = schema.get("properties").and_then(Value::as_object);
    let all_of = schema.get("allOf").and_then(Value::as_array);
    ["items", "additionalProperties"].iter().filter_map(|key| schema.get(key)).any(below)
        || properties.is_some_and(|properties| properties.values().any(below))
        || all_of.into_iter().flatten().any(below)
}

/// The rules at and below `rules`, for values under `schema`; none if there are none.
fn node(
    rules: &Value,
    schema: &Schema,
    shape: &Shape,
    resource: bool,
    depth: usize,
) -> Option<Node> {
    if depth > DEPTH_MAX || !has_rules(rules, depth) {
        return None;
    }
    let own = rules.get("x-kubernetes-validations").and_then(Value::as_array);
    let compiled: Vec<Compiled> =
        own.into_iter().flatten().map(|rule| compile(rule, rules, shape)).collect();
    let properties = rules.get("properties").and_then(Value::as_object).into_iter().flatten();
    let fields = properties.filter_map(|(name, rules)| {
        let schema = schema.property(name)?;
        let embedded = schema.embedded_resource();
        let shape = match expression::escape(name) {
            Some(escaped) => shape.field(&escaped)?.clone(),
            None => Shape::of_schema(&schema, embedded, TYPE_NAME)?,
        };
        Some((name.clone(), node(rules, &schema, &shape, embedded, depth + 1)?))
    });
    let element_rules = rules.get("items").or_else(|| rules.get("additionalProperties"));
    let element_schema = schema.items().or_else(|| schema.values());
    let element = match (element_rules, element_schema, shape.element()) {
        (Some(rules), Some(schema), Some(shape)) => {
            node(rules, &schema, shape, schema.embedded_resource(), depth + 1)
        }
        _ => None,
    };
    let all_of = rules.get("allOf").and_then(Value::as_array).into_iter().flatten();
    let all_of = all_of.filter_map(|rules| node(rules, schema, shape, resource, depth + 1));
    Some(Node {
        schema: schema.clone(),
        type_name: text(rules, "/type").to_owned(),
        resource,
        rules: compiled,
        fields: fields.collect(),
        element: element.map(Box::new),
        all_of: all_of.collect(),
    })
}

/// The item of an old list that is the same as an item of the new one: that with the same keys.
pub(super) fn correlated<'a>(schema: &Schema, item: &Value, old: &'a Value) -> Option<&'a Value> {
    if schema.list_type() != ListType::Map {
        return None;
    }
    let default = |key: &str| schema.items()?.property(key)?.default().cloned();
    let keys = |item: &Value| -> Vec<Option<Value>> {
        let keys = schema.list_map_keys().iter();
        keys.map(|key| item.get(&**key).cloned().or_else(|| default(key))).collect()
    };
    let wanted = keys(item);
    old.as_array()?.iter().find(|old| old.is_object() && keys(old) == wanted)
}

#[cfg(test)]
mod tests;
