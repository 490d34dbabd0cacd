//! What makes a schema structural: every value has one known type, and what only validates adds no fields.

use std::cell::RefCell;

use api::field::{Error, Path};
use serde_json::{Value, json};

use super::flag;
use crate::handle::text;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// The faults of a root schema, in the order of their texts.
pub(super) fn faults(schema: &Value, path: &Path) -> Vec<Error> {
    let checker = Checker { errors: RefCell::default() };
    checker.structure(schema, Level::Root, path);
    checker.complete_junctors(schema, Some(schema), path, path);
    let mut errors = checker.errors.into_inner();
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

struct Checker {
    errors: RefCell<Vec<Error>>,
}

fn is_on(schema: &Value, keyword: &str) -> bool {
    schema.get(keyword).is_some_and(flag)
}

fn is_set(schema: &Value, keyword: &str) -> bool {
    schema.get(keyword).is_some_and(|value| !value.is_null())
}

fn list<'a>(schema: &'a Value, keyword: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    schema.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate()
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// A schema below a keyword; `true` and `false` are none.
fn inner<'a>(schema: &'a Value, keyword: &str) -> Option<&'a Value> {
    schema.get(keyword).filter(|inner| inner.is_object())
}

/// The one use of `anyOf` in which types may stand.
fn is_int_or_string(any_of: Option<&Value>) -> bool {
    any_of == Some(&json!([{"type": "integer"}, {"type": "string"}]))
}

impl Checker {
    fn push(&self, error: Error) {
        self.errors.borrow_mut().push(error);
    }

    fn structure(&self, schema: &Value, level: Level, path: &Path) {
        let is_array = text(schema, "/type") == "array";
        if is_array && !is_set(schema, "items") {
            self.push(Error::required(&path.child("items"), "must be specified"));
        }
        if let Some(items) = inner(schema, "items") {
            self.structure(items, Level::Item, &path.child("items"));
        }
        for (name, property) in properties(schema) {
            self.structure(property, Level::Field, &path.child("properties").key(name));
        }
        if is_set(schema, "additionalProperties") && level == Level::Root {
            let path = path.child("additionalProperties");
            self.push(Error::forbidden(&path, "must not be used at the root"));
        }
        if let Some(values) = inner(schema, "additionalProperties") {
            self.structure(values, Level::Field, &path.child("additionalProperties"));
        }
        self.extensions(schema, path);
        let first = schema.pointer("/allOf/0/anyOf");
        self.junctors(schema, is_int_or_string(schema.get("anyOf")), is_int_or_string(first), path);
        self.type_of(schema, level, path);
        self.object_fields(schema, level, path);
    }

    fn extensions(&self, schema: &Value, path: &Path) {
        if !is_on(schema, "x-kubernetes-int-or-string") {
            return;
        }
        for keyword in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
            if is_on(schema, keyword) {
                let detail = "must be false if x-kubernetes-int-or-string is true";
                self.push(Error::invalid(&path.child(keyword), true, detail));
            }
        }
    }

    fn type_of(&self, schema: &Value, level: Level, path: &Path) {
        let (given, path_of_type) = (text(schema, "/type"), path.child("type"));
        let untyped = is_on(schema, "x-kubernetes-int-or-string")
            || is_on(schema, "x-kubernetes-preserve-unknown-fields");
        let is_embedded = is_on(schema, "x-kubernetes-embedded-resource");
        if is_embedded && given != "object" {
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            self.push(match given {
                "" => Error::required(&path_of_type, detail),
                given => Error::invalid(&path_of_type, given, detail),
            });
        } else if given.is_empty() && !untyped {
            let detail = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            self.push(Error::required(&path_of_type, detail));
        }
        if is_embedded && is_set(schema, "additionalProperties") {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            self.push(Error::forbidden(&path.child("additionalProperties"), detail));
        }
        if level == Level::Root && !given.is_empty() && given != "object" {
            self.push(Error::invalid(&path_of_type, given, "must be object at the root"));
        }
    }

    /// `kind`, `apiVersion` and `metadata` are those of every object.
    fn object_fields(&self, schema: &Value, level: Level, path: &Path) {
        let is_embedded = is_on(schema, "x-kubernetes-embedded-resource");
        let is_object = level == Level::Root || is_embedded;
        let at = |name: &str| path.child("properties").key(name);
        for name in ["kind", "apiVersion"] {
            let property = schema.get("properties").and_then(|properties| properties.get(name));
            if let Some(property) = property.filter(|_| is_object) {
                let given = text(property, "/type");
                if given != "string" {
                    let path = at(name).child("type");
                    self.push(Error::invalid(&path, given, "must be string"));
                }
            }
        }
        if let Some(metadata) = schema.pointer("/properties/metadata") {
            let given = text(metadata, "/type");
            if is_object && given != "object" {
                let path = at("metadata").child("type");
                self.push(Error::invalid(&path, given, "must be object"));
            }
            if level == Level::Root && !only_names(metadata) {
                let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
                self.push(Error::forbidden(&at("metadata"), detail));
            }
        }
        let preserves = is_on(schema, "x-kubernetes-preserve-unknown-fields");
        if is_embedded && !preserves && properties(schema).next().is_none() {
            let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            self.push(Error::required(&path.child("properties"), detail));
        }
    }

    /// What is under `anyOf`, `allOf`, `oneOf` and `not`.
    fn junctors(&self, schema: &Value, skip_any: bool, skip_first: bool, path: &Path) {
        if !skip_any {
            for (index, nested) in list(schema, "anyOf") {
                self.nested(nested, false, &path.child("anyOf").index(index));
            }
        }
        for (index, nested) in list(schema, "allOf") {
            self.nested(nested, skip_first && index == 0, &path.child("allOf").index(index));
        }
        for (index, nested) in list(schema, "oneOf") {
            self.nested(nested, false, &path.child("oneOf").index(index));
        }
        if let Some(nested) = inner(schema, "not") {
            self.nested(nested, false, &path.child("not"));
        }
        let pattern = text(schema, "/pattern");
        if let Err(error) = regex::Regex::new(pattern) {
            let detail = format!("must be a valid regular expression, but isn't: {error}");
            self.push(Error::invalid(&path.child("pattern"), pattern, detail));
        }
    }

    /// A schema that may only validate.
    fn nested(&self, schema: &Value, skip_any: bool, path: &Path) {
        self.junctors(schema, skip_any, false, path);
        if let Some(items) = inner(schema, "items") {
            self.nested(items, false, &path.child("items"));
        }
        for (name, property) in properties(schema) {
            self.nested(property, false, &path.child("properties").key(name));
        }
        let forbidden = |keyword: &str, detail: &str| {
            self.push(Error::forbidden(&path.child(keyword), detail));
        };
        for keyword in ["type", "title", "description"] {
            if !text(schema, &format!("/{keyword}")).is_empty() {
                forbidden(keyword, "must be empty to be structural");
            }
        }
        let additional = schema.get("additionalProperties");
        if additional.is_some_and(|additional| additional.is_object() || flag(additional)) {
            forbidden("additionalProperties", "must be undefined to be structural");
        }
        for keyword in ["default", "x-kubernetes-list-type", "x-kubernetes-map-type"] {
            if is_set(schema, keyword) {
                forbidden(keyword, "must be undefined to be structural");
            }
        }
        for keyword in [
            "nullable",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-embedded-resource",
            "x-kubernetes-int-or-string",
        ] {
            if is_on(schema, keyword) {
                forbidden(keyword, "must be false to be structural");
            }
        }
        for keyword in ["x-kubernetes-list-map-keys", "x-kubernetes-validations"] {
            if list(schema, keyword).next().is_some() {
                forbidden(keyword, "must be empty to be structural");
            }
        }
        if schema.pointer("/properties/metadata").is_some() {
            let path = path.child("properties").key("metadata");
            self.push(Error::forbidden(&path, "must not be specified in a nested context"));
        }
    }

    /// Whatever is validated must be a field of the structure.
    fn complete_junctors(
        &self,
        schema: &Value,
        structure: Option<&Value>,
        structure_path: &Path,
        path: &Path,
    ) {
        let complete = |nested: &Value, path: Path| {
            self.complete_nested(nested, structure, structure_path, &path);
        };
        if let Some(nested) = inner(schema, "not") {
            complete(nested, path.child("not"));
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for (index, nested) in list(schema, keyword) {
                complete(nested, path.child(keyword).index(index));
            }
        }
    }

    fn complete_nested(
        &self,
        schema: &Value,
        structure: Option<&Value>,
        structure_path: &Path,
        path: &Path,
    ) {
        let Some(found) = structure else {
            let detail = format!("because it is defined in {path}");
            self.push(Error::required(structure_path, &detail));
            return;
        };
        self.complete_junctors(schema, structure, structure_path, path);
        if let Some(items) = inner(schema, "items") {
            let (of_structure, of_schema) = (structure_path.child("items"), path.child("items"));
            self.complete_nested(items, inner(found, "items"), &of_structure, &of_schema);
        }
        for (name, property) in properties(schema) {
            let of_structure = structure_path.child("properties").key(name);
            let of_schema = path.child("properties").key(name);
            let known = found.get("properties").and_then(|properties| properties.get(name));
            self.complete_nested(property, known, &of_structure, &of_schema);
        }
    }
}

/// Whether a schema of `metadata` restricts the name and nothing else.
fn only_names(metadata: &Value) -> bool {
    let names = properties(metadata).all(|(name, _)| name == "name" || name == "generateName");
    let keywords = metadata.as_object().into_iter().flatten();
    let mut rest = keywords.filter(|(keyword, value)| {
        let is_zero = value.is_null() || **value == Value::Bool(false) || **value == "";
        !is_zero && !matches!(keyword.as_str(), "type" | "default" | "properties")
    });
    names && rest.next().is_none()
}
