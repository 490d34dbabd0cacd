//! The names that Go's decoder gives to types in its error texts, as far as a schema knows them.
//!
//! A schema has no names for Go's string types (`v1.Protocol`): those are called `string` here.

use schema::{Kind, Schema};

/// The Go type behind a schema node, such as `[]v1.Container`.
pub(super) fn name(schema: &Schema) -> String {
    match schema.kind() {
        Kind::Object => match schema.definition_name() {
            Some(definition) => qualified(definition),
            None => "map[string]interface {}".to_owned(),
        },
        Kind::Map => format!("map[string]{}", schema.values().map_or_else(interface, |s| name(&s))),
        Kind::Array => format!("[]{}", schema.items().map_or_else(interface, |s| name(&s))),
        Kind::String if schema.format() == Some("byte") => "[]uint8".to_owned(),
        Kind::String => match schema.definition_name() {
            Some(definition) => qualified(definition),
            None => "string".to_owned(),
        },
        Kind::Integer => schema.format().unwrap_or("int64").to_owned(),
        Kind::Number => "float64".to_owned(),
        Kind::Boolean => "bool".to_owned(),
        Kind::IntOrString => "intstr.IntOrString".to_owned(),
        Kind::Quantity => "resource.Quantity".to_owned(),
        Kind::Any => interface(),
    }
}

fn interface() -> String {
    "interface {}".to_owned()
}

/// Package and type of a definition: `io.k8s.api.core.v1.Pod` is `v1.Pod`.
fn qualified(definition: &str) -> String {
    let mut parts = definition.rsplit('.');
    let last = parts.next().unwrap_or_default();
    format!("{}.{last}", parts.next().unwrap_or_default())
}

/// The bare type name of a definition, as in `Go struct field Pod.spec`.
pub(super) fn bare(definition: &'static str) -> &'static str {
    definition.rsplit('.').next().unwrap_or(definition)
}
