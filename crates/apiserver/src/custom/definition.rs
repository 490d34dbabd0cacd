//! Which definitions are allowed: their schemas are structural, and nothing in them contradicts itself.
//!
//! Names, versions, columns and subresources are checked by the kind's own file in crate `api`. A definition that was
//! let in before is not refused for what it always had.

mod defaults;
mod open_api;
mod rules;
mod structural;

use api::field::{Error, Path};
use api::resource::Resource;
use serde_json::Value;

use crate::handle::text;

/// What a root schema may have beside `type` when the status is a subresource; upstream names the fields
/// of its struct.
const ROOT_KEYWORDS: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];

/// The faults of a new or changed definition's schemas; none for any other kind.
pub(crate) fn faults(resource: &Resource, new: &Value, old: Option<&Value>) -> Vec<Error> {
    if resource.plural != super::PLURAL || resource.group != super::GROUP {
        return Vec::new();
    }
    // What is stored is not held to rules that it never kept.
    let rules = Rules {
        structural: old.is_none_or(|old| violations(old).is_empty())
            || !flag(new.pointer("/spec/preserveUnknownFields").unwrap_or(&Value::Null)),
        pruned_defaults: old.is_none_or(|old| !has_fault(old, defaults::unpruned)),
        property_types: old.is_none_or(|old| !has_fault(old, open_api::unknown_types)),
        atomic_sets: old.is_none_or(|old| !has_fault(old, open_api::loose_sets)),
        list_keys: old.is_none_or(|old| !has_fault(old, open_api::loose_list_keys)),
    };
    let mut errors = Vec::new();
    for (version, schema, path) in schemas(new) {
        let own = version_faults(version, schema, &path, &rules);
        // Rules are compiled against a schema that makes sense; those that were let in stay.
        let is_new = old.is_none_or(|old| !schemas(old).any(|(_, old, _)| old == schema));
        if own.is_empty() && is_new {
            errors.extend(self::rules::faults(schema, &path));
        }
        errors.extend(own);
    }
    errors.extend(selectable_faults(new));
    errors
}

/// Why a definition's schemas are not structural: what the condition `NonStructuralSchema` tells.
pub(super) fn violations(definition: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    if definition.pointer("/spec/preserveUnknownFields").is_some_and(flag) {
        let path = Path::new("spec").child("preserveUnknownFields");
        errors.push(Error::invalid(&path, true, "must be false"));
    }
    for (_, schema, path) in schemas(definition) {
        errors.extend(structural::faults(schema, &path));
    }
    errors
}

/// Which of the checks apply.
struct Rules {
    structural: bool,
    pruned_defaults: bool,
    property_types: bool,
    atomic_sets: bool,
    list_keys: bool,
}

/// Whether a JSON value is a flag that is on.
fn flag(value: &Value) -> bool {
    value == &Value::Bool(true)
}

/// The versions that have a schema, with the schema's path.
fn schemas(definition: &Value) -> impl Iterator<Item = (&Value, &Value, Path)> {
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    versions.into_iter().flatten().enumerate().filter_map(|(index, version)| {
        let schema = version.pointer("/schema/openAPIV3Schema").filter(|s| s.is_object())?;
        let path = Path::new("spec").child("versions").index(index).child("schema");
        Some((version, schema, path.child("openAPIV3Schema")))
    })
}

fn has_fault(definition: &Value, check: fn(&Value) -> bool) -> bool {
    schemas(definition).any(|(_, schema, _)| any_schema(schema, &check))
}

/// Whether a schema, or one within it, is so.
fn any_schema(schema: &Value, test: &dyn Fn(&Value) -> bool) -> bool {
    test(schema) || children(schema).any(|child| any_schema(child, test))
}

/// All schemas directly within one, wherever a schema may stand.
fn children(schema: &Value) -> impl Iterator<Item = &Value> {
    let one = ["items", "additionalProperties", "not"].into_iter().filter_map(|k| schema.get(k));
    let lists = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|k| schema.get(k)?.as_array());
    let maps = schema.get("properties").and_then(Value::as_object);
    let all = one.chain(lists.flatten()).chain(maps.into_iter().flat_map(|map| map.values()));
    all.filter(|schema| schema.is_object())
}

fn version_faults(version: &Value, schema: &Value, path: &Path, rules: &Rules) -> Vec<Error> {
    let mut errors = Vec::new();
    if version.pointer("/subresources/status").is_some_and(|status| !status.is_null()) {
        errors.extend(root_faults(schema, path));
    }
    if schema.get("nullable").is_some_and(flag) {
        errors
            .push(Error::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    if rules.structural {
        let faults = structural::faults(schema, path);
        if faults.is_empty() {
            errors.extend(defaults::faults(schema, path, rules.pruned_defaults));
        }
        errors.extend(faults);
    }
    errors.extend(open_api::faults(schema, path, rules));
    errors
}

/// A schema whose status is validated by itself may only say certain things at its root.
fn root_faults(schema: &Value, path: &Path) -> Option<Error> {
    let is_zero = |value: &Value| {
        matches!(value, Value::Null | Value::Bool(false)) || value.as_str() == Some("")
    };
    let set = schema.as_object()?.iter().filter(|(_, value)| !is_zero(value));
    for keyword in set.map(|(keyword, _)| keyword) {
        if keyword == "type" {
            let given = text(schema, "/type");
            if given != "object" {
                let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
                return Some(Error::invalid(&path.child("type"), given, detail));
            }
        } else if !ROOT_KEYWORDS.iter().any(|(known, _)| known == keyword) {
            let known: Vec<&str> = ROOT_KEYWORDS.iter().map(|(_, field)| *field).collect();
            let detail = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                known.join(" ")
            );
            return Some(Error::invalid(path, schema.clone(), detail));
        }
    }
    None
}

/// Selectable fields must point to scalars of the schema.
fn selectable_faults(definition: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    for (index, (version, schema, _)) in schemas(definition).enumerate() {
        let fields = version.get("selectableFields").and_then(Value::as_array);
        let path = Path::new("spec").child("versions").index(index).child("selectableFields");
        for (at, field) in fields.into_iter().flatten().enumerate() {
            let given = text(field, "/jsonPath");
            let path = path.index(at).child("jsonPath");
            if given.is_empty() || given == ".metadata" || given.starts_with(".metadata.") {
                continue;
            }
            match schema_at(schema, given) {
                Err(why) => {
                    let detail = format!("is an invalid path: {why}");
                    errors.push(Error::invalid(&path, given, detail));
                }
                Ok(found) => {
                    if !matches!(text(found, "/type"), "string" | "boolean" | "integer") {
                        let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
                        errors.push(Error::invalid(&path, given, detail));
                    }
                }
            }
        }
    }
    errors
}

/// The schema at a path such as `.spec.host` or `.spec['a.b']`.
fn schema_at<'a>(schema: &'a Value, path: &str) -> Result<&'a Value, String> {
    let names =
        crate::json_path::fields(path).ok_or_else(|| format!("expected [ or . but got: {path}"))?;
    names.iter().try_fold(schema, |schema, name| {
        let property = schema.get("properties").and_then(|properties| properties.get(name));
        property.ok_or_else(|| "does not refer to a valid field".to_owned())
    })
}

#[cfg(test)]
mod tests;
