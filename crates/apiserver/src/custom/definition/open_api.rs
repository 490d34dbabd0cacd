//! What a schema of a definition may say at all, structural or not: no references, no tuples, lists with
//! consistent keys.

use api::field::{Error, Path};
use serde_json::Value;

use super::{Rules, flag};
use crate::handle::text;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const OBJECT_FIELDS: [&str; 3] = ["metadata", "kind", "apiVersion"];

/// The faults of a root schema and of all schemas within.
pub(super) fn faults(schema: &Value, path: &Path, rules: &Rules) -> Vec<Error> {
    let mut checker = Checker { errors: Vec::new(), rules };
    checker.schema(schema, path, &Place { is_root: true, ..Place::default() });
    checker.errors
}

/// Whether the type of a schema is none of OpenAPI's.
pub(super) fn unknown_types(schema: &Value) -> bool {
    let given = text(schema, "/type");
    !given.is_empty() && !TYPES.contains(&given)
}

/// Whether a set has items that are not compared as a whole.
pub(super) fn loose_sets(schema: &Value) -> bool {
    set_fault(schema, &Path::root()).is_some()
}

/// Whether a list has nullable items or keys that may be missing.
pub(super) fn loose_list_keys(schema: &Value) -> bool {
    let mut errors = Vec::new();
    key_faults(schema, &Path::root(), &mut errors);
    !errors.is_empty()
}

/// Where a schema stands.
#[derive(Clone, Default)]
struct Place {
    is_root: bool,
    /// Within `metadata`, `kind` or `apiVersion`.
    in_metadata: bool,
    /// Why defaults are not allowed here.
    no_defaults: Option<String>,
}

struct Checker<'a> {
    errors: Vec<Error>,
    rules: &'a Rules,
}

fn schema_in<'a>(schema: &'a Value, keyword: &str) -> Option<&'a Value> {
    schema.get(keyword).filter(|inner| inner.is_object())
}

fn is_filled(schema: &Value, keyword: &str) -> bool {
    match schema.get(keyword) {
        None | Some(Value::Null) => false,
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}

fn texts<'a>(schema: &'a Value, keyword: &str) -> Vec<&'a str> {
    let list = schema.get(keyword).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

impl Checker<'_> {
    fn push(&mut self, error: Error) {
        self.errors.push(error);
    }

    fn schema(&mut self, schema: &Value, path: &Path, place: &Place) {
        self.standard(schema, path, place);
        if schema.get("uniqueItems").is_some_and(flag) {
            let detail =
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.push(Error::forbidden(&path.child("uniqueItems"), detail));
        }
        let within = Place { is_root: false, ..place.clone() };
        self.additional(schema, path, &within);
        self.properties(schema, path, place);
        if let Some(nested) = schema_in(schema, "not") {
            self.schema(nested, &path.child("not"), &within);
        }
        for keyword in ["allOf", "oneOf", "anyOf"] {
            let list = schema.get(keyword).and_then(Value::as_array);
            for (index, nested) in list.into_iter().flatten().enumerate() {
                self.schema(nested, &path.child(keyword).index(index), &within);
            }
        }
        if let Some(items) = schema_in(schema, "items") {
            self.schema(items, &path.child("items"), &within);
        }
        self.maps(schema, path);
        self.lists(schema, path);
        if self.rules.list_keys {
            key_faults(schema, path, &mut self.errors);
        }
        rule_faults(schema, path, &mut self.errors);
    }

    fn additional(&mut self, schema: &Value, path: &Path, within: &Place) {
        let Some(additional) = schema.get("additionalProperties").filter(|a| !a.is_null()) else {
            return;
        };
        let path = path.child("additionalProperties");
        if is_filled(schema, "properties") && !flag(additional) {
            let detail = "additionalProperties and properties are mutual exclusive";
            self.push(Error::forbidden(&path, detail));
        }
        if !additional.is_object() {
            return;
        }
        let mut place = within.clone();
        if place.in_metadata {
            let why = "inside additionalProperties applying to object metadata";
            place.no_defaults = Some(why.to_owned());
        }
        self.schema(additional, &path, &place);
    }

    fn properties(&mut self, schema: &Value, path: &Path, place: &Place) {
        let is_object =
            place.is_root || schema.get("x-kubernetes-embedded-resource").is_some_and(flag);
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let mut within = Place { is_root: false, ..place.clone() };
            if is_object && OBJECT_FIELDS.contains(&name.as_str()) {
                within.in_metadata = true;
                if place.is_root {
                    within.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            self.schema(property, &path.child("properties").key(name), &within);
        }
    }

    /// Keywords that are known to nobody or supported nowhere.
    fn standard(&mut self, schema: &Value, path: &Path, place: &Place) {
        let given = text(schema, "/type");
        if self.rules.property_types && unknown_types(schema) {
            self.push(Error::not_supported(&path.child("type"), given, &TYPES));
        }
        if let Some(why) = &place.no_defaults
            && schema.get("default").is_some_and(|default| !default.is_null())
        {
            let detail = format!("must not be set {why}");
            self.push(Error::forbidden(&path.child("default"), detail));
        }
        for keyword in
            ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"]
        {
            if is_filled(schema, keyword) {
                let detail = format!("{keyword} is not supported");
                self.push(Error::forbidden(&path.child(keyword), detail));
            }
        }
        if given == "null" {
            let detail = "type cannot be set to null, use nullable as an alternative";
            self.push(Error::forbidden(&path.child("type"), detail));
        }
        if schema.get("items").is_some_and(|items| items.as_array().is_some_and(|l| !l.is_empty()))
        {
            let detail = "items must be a schema object and not an array";
            self.push(Error::forbidden(&path.child("items"), detail));
        }
        let embedded = "x-kubernetes-embedded-resource";
        if place.in_metadata && schema.get(embedded).is_some_and(flag) {
            let detail = "must not be used inside of resource meta";
            self.push(Error::forbidden(&path.child(embedded), detail));
        }
        let preserve = "x-kubernetes-preserve-unknown-fields";
        if schema.get(preserve) == Some(&Value::Bool(false)) {
            self.push(Error::invalid(&path.child(preserve), false, "must be true or undefined"));
        }
    }

    fn maps(&mut self, schema: &Value, path: &Path) {
        let keyword = "x-kubernetes-map-type";
        let Some(map_type) = schema.get(keyword).and_then(Value::as_str) else { return };
        self.wants_type(schema, "object", keyword, path);
        if !matches!(map_type, "atomic" | "granular") {
            let path = path.child(keyword);
            self.push(Error::not_supported(&path, map_type, &["atomic", "granular"]));
        }
    }

    /// A keyword that needs a type. Whether the type is that.
    fn wants_type(&mut self, schema: &Value, wanted: &str, keyword: &str, path: &Path) -> bool {
        let (given, path) = (text(schema, "/type"), path.child("type"));
        let detail = format!("must be {wanted} if {keyword} is specified");
        match given {
            given if given == wanted => return true,
            "" => self.push(Error::required(&path, &detail)),
            given => self.push(Error::invalid(&path, given, detail)),
        }
        false
    }

    fn lists(&mut self, schema: &Value, path: &Path) {
        let (type_word, keys_word) = ("x-kubernetes-list-type", "x-kubernetes-list-map-keys");
        let list_type = schema.get(type_word).and_then(Value::as_str);
        if list_type.is_some()
            && self.wants_type(schema, "array", type_word, path)
            && self.rules.atomic_sets
        {
            self.errors.extend(set_fault(schema, path));
        }
        let known = ["atomic", "set", "map"];
        if let Some(list_type) = list_type.filter(|list_type| !known.contains(list_type)) {
            self.push(Error::not_supported(&path.child(type_word), list_type, &known));
        }
        let keys = texts(schema, keys_word);
        if !keys.is_empty() {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            match list_type {
                None => self.push(Error::required(&path.child(type_word), detail)),
                Some("map") => {}
                Some(other) => self.push(Error::invalid(&path.child(type_word), other, detail)),
            }
        }
        if list_type == Some("map") {
            self.list_map(schema, &keys, path);
        }
    }

    fn list_map(&mut self, schema: &Value, keys: &[&str], path: &Path) {
        let keys_path = path.child("x-kubernetes-list-map-keys");
        if keys.is_empty() {
            let detail = "must not be empty if x-kubernetes-list-type is map";
            self.push(Error::required(&keys_path, detail));
        }
        let items_path = path.child("items");
        let Some(items) = schema_in(schema, "items") else {
            if !is_filled(schema, "items") {
                let detail = "must have a schema if x-kubernetes-list-type is map";
                self.push(Error::required(&items_path, detail));
            }
            return;
        };
        let given = text(items, "/type");
        if given != "object" {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            self.push(Error::invalid(&items_path.child("type"), given, detail));
            return;
        }
        for (index, key) in keys.iter().enumerate() {
            let property = items.get("properties").and_then(|properties| properties.get(*key));
            match property.map(|property| text(property, "/type")) {
                Some("array" | "object") => {
                    let path = items_path.child("properties").key(key).child("type");
                    let detail =
                        "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    self.push(Error::invalid(&path, given, detail));
                }
                Some(_) => {}
                None => {
                    let detail = "entries must all be names of item properties";
                    self.push(Error::invalid(&keys_path, keys.to_vec(), detail));
                }
            }
            if keys[..index].contains(key) {
                let detail = "must not contain duplicate entries";
                self.push(Error::invalid(&keys_path, keys.to_vec(), detail));
            }
        }
    }
}

/// The items of a set are compared as a whole.
fn set_fault(schema: &Value, path: &Path) -> Option<Error> {
    if text(schema, "/type") != "array" || text(schema, "/x-kubernetes-list-type") != "set" {
        return None;
    }
    let items = schema_in(schema, "items")?;
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let list_type = items.get("x-kubernetes-list-type").cloned().unwrap_or_default();
    let keyword = match text(items, "/type") {
        "array" if !list_type.is_null() && list_type != "atomic" => "x-kubernetes-list-type",
        "object" if text(items, "/x-kubernetes-map-type") != "atomic" => "x-kubernetes-map-type",
        _ => return None,
    };
    Some(Error::invalid(&path.child("items").child(keyword), list_type, detail))
}

/// Keys of list items are always there.
fn key_faults(schema: &Value, path: &Path, errors: &mut Vec<Error>) {
    let list_type = text(schema, "/x-kubernetes-list-type");
    let Some(items) = schema_in(schema, "items") else { return };
    if !matches!(list_type, "set" | "map") {
        return;
    }
    let path = path.child("items");
    if items.get("nullable").is_some_and(flag) {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(Error::forbidden(&path.child("nullable"), detail));
    }
    if list_type == "set" {
        return;
    }
    let required = texts(items, "required");
    for key in texts(schema, "x-kubernetes-list-map-keys") {
        let property = items.get("properties").and_then(|properties| properties.get(key));
        let Some(property) = property else { continue };
        let path = path.child("properties").key(key);
        let has_default = property.get("default").is_some_and(|default| !default.is_null());
        if !required.contains(&key) && !has_default {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(Error::required(&path.child("default"), detail));
        }
        if property.get("nullable").is_some_and(flag) {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(Error::forbidden(&path.child("nullable"), detail));
        }
    }
}

/// The texts around rules; the rules themselves are compiled elsewhere.
fn rule_faults(schema: &Value, path: &Path, errors: &mut Vec<Error>) {
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    let has_newlines = |text: &str| text.contains(['\n', '\r']);
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        let path = path.child("x-kubernetes-validations").index(index);
        let (expression, message) = (text(rule, "/rule").trim(), text(rule, "/message"));
        let at = path.child("message");
        if expression.is_empty() {
            errors.push(Error::required(&path.child("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            let detail = "message must be non-empty if specified";
            errors.push(Error::invalid(&at, message, detail));
        } else if has_newlines(message.trim()) {
            errors.push(Error::invalid(&at, message, "message must not contain line breaks"));
        } else if has_newlines(expression) && message.trim().is_empty() {
            let detail = "message must be specified if rule contains line breaks";
            errors.push(Error::required(&at, detail));
        }
        let computed = text(rule, "/messageExpression");
        if !computed.is_empty() && computed.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            errors.push(Error::required(&path.child("messageExpression"), detail));
        }
        if let Some(reason) = rule.get("reason").and_then(Value::as_str)
            && !REASONS.contains(&reason)
        {
            errors.push(Error::not_supported(&path.child("reason"), reason, &REASONS));
        }
        let field = text(rule, "/fieldPath");
        let at = path.child("fieldPath");
        if !field.is_empty() && field.trim().is_empty() {
            errors.push(Error::invalid(&at, field, "fieldPath must be non-empty if specified"));
        }
        if has_newlines(field) {
            errors.push(Error::invalid(&at, field, "fieldPath must not contain line breaks"));
        }
    }
}
