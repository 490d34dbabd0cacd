//! Definitions: a schema node as OpenAPI v2 or v3 writes it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Dialect, Resource};
use crate::{
    Kind, ListType, MapType, Schema,
    builtin::{kinds_of, unions_of},
    descriptions::Descriptions,
};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
/// Keywords of custom schemas that OpenAPI v2 has no place for.
const V3_ONLY: [&str; 4] = ["oneOf", "anyOf", "allOf", "not"];

/// The built-in definitions that a schema refers to directly.
pub(super) fn references(schema: &Schema, found: &mut BTreeSet<&'static str>) {
    let children =
        schema.properties().map(|(_, child)| child).chain(schema.items()).chain(schema.values());
    for child in children {
        match child.reference() {
            Some(name) => {
                found.insert(name);
            }
            None => references(&child, found),
        }
    }
}

/// A built-in definition.
pub(super) fn builtin(
    name: &str,
    schema: &Schema,
    descriptions: &Descriptions,
    dialect: Dialect,
) -> Value {
    let mut out = Map::new();
    if let Some(text) = descriptions.get(name, "") {
        out.insert("description".to_owned(), text.into());
    }
    match special(name, dialect) {
        Some(shape) => out.extend(shape),
        None => {
            shape(&mut out, schema, dialect);
            required(&mut out, schema);
            let properties: Map<String, Value> = schema
                .properties()
                .map(|(field, child)| {
                    let text = descriptions.get(name, field);
                    (field.to_owned(), node(&child, text, dialect))
                })
                .collect();
            if !properties.is_empty() {
                out.insert("properties".to_owned(), properties.into());
            }
        }
    }
    merge_rules(&mut out, schema);
    let kinds: Vec<Value> = kinds_of(name)
        .iter()
        .map(|gvk| json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind}))
        .collect();
    if !kinds.is_empty() {
        out.insert("x-kubernetes-group-version-kind".to_owned(), kinds.into());
    }
    if let Some(unions) = unions_of(name).and_then(|text| serde_json::from_str(text).ok()) {
        out.insert("x-kubernetes-unions".to_owned(), unions);
    }
    out.into()
}

/// Definitions whose documented shape is not that of an object.
fn special(name: &str, dialect: Dialect) -> Option<Map<String, Value>> {
    let value = match (name.rsplit('.').next()?, dialect) {
        ("Quantity", Dialect::V2) => json!({"type": "string"}),
        ("Quantity", Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        ("IntOrString", Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
        ("IntOrString", Dialect::V3) => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        ("RawExtension" | "FieldsV1" | "Patch", _) => json!({"type": "object"}),
        _ => return None,
    };
    value.as_object().cloned()
}

/// A node below a definition. `description` goes before that of the node itself.
fn node(schema: &Schema, description: Option<String>, dialect: Dialect) -> Value {
    let mut out = Map::new();
    if let Some(text) = description.or_else(|| schema.description().map(str::to_owned)) {
        out.insert("description".to_owned(), text.into());
    }
    match schema.reference() {
        Some(name) => reference(&mut out, name, dialect),
        None => {
            shape(&mut out, schema, dialect);
            children(&mut out, schema, dialect);
            custom_keywords(&mut out, schema, dialect);
        }
    }
    merge_rules(&mut out, schema);
    if let Some(default) = schema.default().filter(|_| dialect == Dialect::V3) {
        out.insert("default".to_owned(), default.clone());
    }
    out.into()
}

/// A use of a definition; v3 allows nothing beside `$ref`, so it is wrapped where there is something.
fn reference(out: &mut Map<String, Value>, name: &str, dialect: Dialect) {
    let target = Value::from(dialect.reference(name));
    if dialect == Dialect::V3 && !out.is_empty() {
        out.insert("allOf".to_owned(), json!([{"$ref": target}]));
    } else {
        out.insert("$ref".to_owned(), target);
    }
}

/// Type and format.
fn shape(out: &mut Map<String, Value>, schema: &Schema, dialect: Dialect) {
    let name = match schema.kind() {
        Kind::Object | Kind::Map => "object",
        Kind::Array => "array",
        Kind::String => "string",
        Kind::Integer => "integer",
        Kind::Number => "number",
        Kind::Boolean => "boolean",
        Kind::Quantity => "string",
        Kind::IntOrString => {
            out.insert("x-kubernetes-int-or-string".to_owned(), true.into());
            return;
        }
        Kind::Any => return,
    };
    // What may be null has no type that v2 could state, and clients of v2 take no objects with unknown
    // fields, and no lists without items.
    let untyped = dialect == Dialect::V2
        && (schema.nullable()
            || schema.preserve_unknown()
                && matches!(schema.kind(), Kind::Object | Kind::Map | Kind::Array));
    if !untyped {
        out.insert("type".to_owned(), name.into());
    }
    if let Some(format) = schema.format() {
        out.insert("format".to_owned(), format.into());
    }
}

fn required(out: &mut Map<String, Value>, schema: &Schema) {
    if !schema.required().is_empty() {
        out.insert("required".to_owned(), json!(schema.required()));
    }
}

/// As [`required`]; what may be null has no type in v2, and so is not asked for.
fn required_of_custom(out: &mut Map<String, Value>, schema: &Schema, dialect: Dialect) {
    if dialect == Dialect::V3 {
        return required(out, schema);
    }
    let may_be_null = |name: &str| schema.property(name).is_some_and(|child| child.nullable());
    let names = schema.required().iter().filter(|name| !may_be_null(name));
    let names: Vec<&str> = names.map(AsRef::as_ref).collect();
    if !names.is_empty() && !schema.values().is_some_and(|values| values.nullable()) {
        out.insert("required".to_owned(), json!(names));
    }
}

fn children(out: &mut Map<String, Value>, schema: &Schema, dialect: Dialect) {
    required_of_custom(out, schema, dialect);
    // Beside a value without a type, clients of v2 take no fields or items.
    let open = dialect == Dialect::V2 && (schema.nullable() || schema.preserve_unknown());
    if let Some(items) = schema.items().filter(|_| !open) {
        out.insert("items".to_owned(), node(&items, None, dialect));
    }
    if let Some(values) = schema.values() {
        out.insert("additionalProperties".to_owned(), node(&values, None, dialect));
    }
    let properties: Map<String, Value> = schema
        .properties()
        .filter(|_| !open)
        .map(|(name, child)| (name.to_owned(), node(&child, None, dialect)))
        .collect();
    if !properties.is_empty() {
        out.insert("properties".to_owned(), properties.into());
    }
}

/// What only the schemas of custom resources say.
fn custom_keywords(out: &mut Map<String, Value>, schema: &Schema, dialect: Dialect) {
    if schema.definition_name().is_some() {
        return;
    }
    for (name, value) in schema.keywords() {
        if dialect == Dialect::V3 || !V3_ONLY.contains(&name) {
            out.insert(name.to_owned(), value.clone());
        }
    }
    if !schema.enum_values().is_empty() {
        out.insert("enum".to_owned(), schema.enum_values().to_vec().into());
    }
    if schema.nullable() && dialect == Dialect::V3 {
        out.insert("nullable".to_owned(), true.into());
    }
    if schema.preserve_unknown() {
        out.insert("x-kubernetes-preserve-unknown-fields".to_owned(), true.into());
    }
    if schema.embedded_resource() {
        out.insert("x-kubernetes-embedded-resource".to_owned(), true.into());
    }
}

/// The extensions that server-side apply and strategic merge patch read.
fn merge_rules(out: &mut Map<String, Value>, schema: &Schema) {
    let mut extension =
        |name: &str, value: Value| out.insert(format!("x-kubernetes-{name}"), value);
    match schema.own_list_type() {
        Some(ListType::Atomic) => drop(extension("list-type", "atomic".into())),
        Some(ListType::Set) => drop(extension("list-type", "set".into())),
        Some(ListType::Map) => {
            extension("list-type", "map".into());
            extension("list-map-keys", json!(schema.list_map_keys()));
        }
        None => {}
    }
    match schema.own_map_type() {
        Some(MapType::Atomic) => drop(extension("map-type", "atomic".into())),
        Some(MapType::Granular) => drop(extension("map-type", "granular".into())),
        None => {}
    }
    if let Some(words) = schema.patch_strategy().extension() {
        extension("patch-strategy", words.into());
    }
    if let Some(key) = schema.patch_merge_key() {
        extension("patch-merge-key", key.into());
    }
}

/// The definition of a custom resource.
pub(super) fn custom(
    resource: &Resource<'_>,
    schema: &Schema,
    descriptions: &Descriptions,
    dialect: Dialect,
) -> Value {
    // With fields, clients would take all others for unknown.
    if schema.kind() == Kind::Any || (dialect == Dialect::V2 && schema.preserve_unknown()) {
        let mut out = json!({"type": "object"});
        extensions(&mut out, resource, resource.kind);
        return out;
    }
    let mut out = node(schema, None, dialect);
    // Every object describes these alike.
    let object = "io.k8s.api.core.v1.Pod";
    for field in ["apiVersion", "kind", "metadata"] {
        if let (Some(property), Some(text)) =
            (out["properties"].get_mut(field), descriptions.get(object, field))
        {
            describe(property, text, dialect);
        }
    }
    extensions(&mut out, resource, resource.kind);
    out
}

/// What the definitions of a custom resource and of its list say of the resource.
fn extensions(out: &mut Value, resource: &Resource<'_>, kind: &str) {
    out["x-kubernetes-group-version-kind"] = gvk_list(resource, kind);
    if !resource.selectable_fields.is_empty() {
        let fields = resource.selectable_fields.iter().map(|path| json!({"fieldPath": path}));
        out["x-kubernetes-selectable-fields"] = fields.collect();
    }
}

/// Sets the description of a rendered node, which may be a bare reference.
fn describe(node: &mut Value, text: String, dialect: Dialect) {
    if let Some(map) = node.as_object_mut() {
        if dialect == Dialect::V3
            && let Some(reference) = map.remove("$ref")
        {
            map.insert("allOf".to_owned(), json!([{"$ref": reference}]));
        }
        map.insert("description".to_owned(), text.into());
    }
}

fn gvk_list(resource: &Resource<'_>, kind: &str) -> Value {
    json!([{"group": resource.group, "version": resource.version, "kind": kind}])
}

/// The definition of a list of a custom resource.
pub(super) fn custom_list(
    resource: &Resource<'_>,
    item: &str,
    descriptions: &Descriptions,
    dialect: Dialect,
) -> Value {
    let list = "io.k8s.api.core.v1.PodList";
    let text = |field: &str| descriptions.get(list, field).unwrap_or_default();
    let mut metadata = json!({"$ref": dialect.reference(&format!("{META}.ListMeta"))});
    describe(&mut metadata, "Standard list metadata.".to_owned(), dialect);
    let mut out = json!({
        "description": format!("{} is a list of {}", resource.list_kind, resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": text("apiVersion")},
            "kind": {"type": "string", "description": text("kind")},
            "metadata": metadata,
            "items": {
                "type": "array",
                "description": format!("List of {}.", resource.plural),
                "items": {"$ref": dialect.reference(item)}
            }
        }
    });
    extensions(&mut out, resource, resource.list_kind);
    out
}
