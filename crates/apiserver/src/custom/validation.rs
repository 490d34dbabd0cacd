//! Checking values against the OpenAPI schema of a definition, with upstream's texts.

use std::collections::HashMap;
use std::sync::LazyLock;

use api::field::{Error, ErrorType, Path};
use parking_lot::Mutex;
use regex::Regex;
use serde_json::Value;

/// Deeper than any structural schema may be.
const DEPTH_MAX: usize = 64;
/// Compiled patterns of all definitions together.
const PATTERNS_KEPT_MAX: usize = 512;
/// Faults reported of one object.
const ERRORS_MAX: usize = 100;

/// All faults of an object. `apiVersion`, `kind` and `metadata` are checked elsewhere.
pub(super) fn check(schema: &Value, object: &Value) -> Vec<Error> {
    let mut checker = Checker { errors: Vec::new() };
    checker.value(schema, object, None, &Path::root(), 0);
    checker.errors
}

/// All faults of a changed object. What is wrong with a value that did not change is tolerated; so are
/// duplicates where there were some before.
pub(super) fn check_update(schema: &Value, new: &Value, old: &Value) -> Vec<Error> {
    let mut checker = Checker { errors: Vec::new() };
    checker.value(schema, new, Some(old), &Path::root(), 0);
    let is_duplicate = |error: &Error| error.kind == ErrorType::Duplicate;
    let had_duplicates = || check(schema, old).iter().any(is_duplicate);
    if checker.errors.iter().any(is_duplicate) && had_duplicates() {
        checker.errors.retain(|error| !is_duplicate(error));
    }
    checker.errors
}

/// All faults of a value that stands at `base`, such as a default in a definition. What is wrong is told
/// relative to the value, as upstream does.
pub(super) fn check_at(schema: &Value, value: &Value, base: &Path) -> Vec<Error> {
    let mut checker = Checker { errors: Vec::new() };
    checker.value(schema, value, None, &Path::root(), 1);
    let root = Path::root().to_string();
    for error in &mut checker.errors {
        error.field = if error.field == root {
            base.to_string()
        } else {
            base.child(&error.field).to_string()
        };
    }
    checker.errors
}

/// A path as it stands in the middle of a text: nothing for the object itself.
fn place(path: &Path) -> String {
    if *path == Path::root() { String::new() } else { path.to_string() }
}

struct Checker {
    errors: Vec<Error>,
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn fits_type(wanted: &str, value: &Value) -> bool {
    let whole = |value: &Value| value.as_f64().is_some_and(|number| number.fract() == 0.0);
    match wanted {
        "integer" => whole(value),
        "number" => value.is_number(),
        other => type_name(value) == other,
    }
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}

impl Checker {
    fn push(&mut self, error: Error) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
    }

    fn say(&mut self, path: &Path, value: &Value, what: &str) {
        self.push(Error::invalid(path, value.clone(), format!("{} in body {what}", place(path))));
    }

    /// `old` is what the value was before, if it can be told which value that is.
    fn value(
        &mut self,
        schema: &Value,
        value: &Value,
        old: Option<&Value>,
        path: &Path,
        depth: usize,
    ) {
        if depth > DEPTH_MAX || (value.is_null() && flag(schema, "nullable")) {
            return;
        }
        if old == Some(value) {
            return;
        }
        if !self.has_type(schema, value, path) {
            return;
        }
        self.one_of_enum(schema, value, path);
        match value {
            Value::String(text) => self.string(schema, text, path),
            Value::Number(number) => {
                self.number(schema, number.as_f64().unwrap_or(0.0), value, path)
            }
            Value::Array(items) => self.array(schema, items, old, path, depth),
            Value::Object(map) => self.object(schema, map, old, path, depth),
            Value::Null | Value::Bool(_) => {}
        }
        self.combined(schema, value, path, depth);
    }

    fn has_type(&mut self, schema: &Value, value: &Value, path: &Path) -> bool {
        if flag(schema, "x-kubernetes-int-or-string") {
            return value.is_string() || fits_type("integer", value);
        }
        let Some(wanted) = schema.get("type").and_then(Value::as_str) else { return true };
        if fits_type(wanted, value) {
            return true;
        }
        let have = type_name(value);
        let detail = format!("{} in body must be of type {wanted}: \"{have}\"", place(path));
        self.push(Error::type_invalid(path, have, detail));
        false
    }

    fn one_of_enum(&mut self, schema: &Value, value: &Value, path: &Path) {
        let Some(allowed) = schema.get("enum").and_then(Value::as_array) else { return };
        if !allowed.contains(value) {
            let shown: Vec<String> = allowed
                .iter()
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .collect();
            let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
            self.push(Error::not_supported(path, value.clone(), &shown));
        }
    }

    fn string(&mut self, schema: &Value, text: &str, path: &Path) {
        let value = Value::from(text);
        let length = text.chars().count() as u64;
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        if let Some(max) = bound("maxLength").filter(|max| length > *max) {
            self.push(Error::too_long(path, usize::try_from(max).unwrap_or(usize::MAX)));
        }
        if let Some(min) = bound("minLength").filter(|min| length < *min) {
            self.say(path, &value, &format!("should be at least {min} chars long"));
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && !matches_pattern(pattern, text)
        {
            self.say(path, &value, &format!("should match '{pattern}'"));
        }
        if let Some(format) = schema.get("format").and_then(Value::as_str)
            && !fits_format(format, text)
        {
            let detail = format!("{} in body must be of type {format}: \"{text}\"", place(path));
            self.push(Error::invalid(path, value, detail));
        }
    }

    fn number(&mut self, schema: &Value, number: f64, value: &Value, path: &Path) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let show = |bound: f64| {
            serde_json::Number::from_f64(bound)
                .map_or_else(String::new, |n| n.to_string().trim_end_matches(".0").to_owned())
        };
        if let Some(min) = bound("minimum") {
            if flag(schema, "exclusiveMinimum") && number <= min {
                self.say(path, value, &format!("should be greater than {}", show(min)));
            } else if number < min {
                self.say(path, value, &format!("should be greater than or equal to {}", show(min)));
            }
        }
        if let Some(max) = bound("maximum") {
            if flag(schema, "exclusiveMaximum") && number >= max {
                self.say(path, value, &format!("should be less than {}", show(max)));
            } else if number > max {
                self.say(path, value, &format!("should be less than or equal to {}", show(max)));
            }
        }
        if let Some(step) = bound("multipleOf").filter(|step| *step > 0.0)
            && (number / step).fract() != 0.0
        {
            self.say(path, value, &format!("should be a multiple of {}", show(step)));
        }
    }

    fn array(
        &mut self,
        schema: &Value,
        items: &[Value],
        old: Option<&Value>,
        path: &Path,
        depth: usize,
    ) {
        let bound = |key: &str| {
            schema.get(key).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok())
        };
        if let Some(max) = bound("maxItems").filter(|max| items.len() > *max) {
            self.push(Error::too_many(path, items.len(), max));
        }
        if let Some(min) = bound("minItems").filter(|min| items.len() < *min) {
            let value = Value::Array(items.to_vec());
            self.say(path, &value, &format!("should have at least {min} items"));
        }
        self.unique(schema, items, path);
        let list = schema;
        if let Some(schema) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                let old = old.and_then(|old| same_item(list, item, old));
                self.value(schema, item, old, &path.index(index), depth + 1);
            }
        }
    }

    /// Sets have no equal items, maps no equal keys.
    fn unique(&mut self, schema: &Value, items: &[Value], path: &Path) {
        let keys: Option<Vec<&str>> =
            match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("set") => None,
                Some("map") => Some(
                    schema
                        .get("x-kubernetes-list-map-keys")
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                        .collect(),
                ),
                _ => return,
            };
        let identity = |item: &Value| match &keys {
            None => item.clone(),
            Some(keys) => keys
                .iter()
                .filter_map(|key| Some(((*key).to_owned(), item.get(key)?.clone())))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        };
        let mut seen: std::collections::HashSet<String> = std::collections::HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let identity = identity(item);
            if !seen.insert(identity.to_string()) {
                self.push(Error::duplicate(&path.index(index), identity));
            }
        }
    }

    fn object(
        &mut self,
        schema: &Value,
        map: &serde_json::Map<String, Value>,
        old: Option<&Value>,
        path: &Path,
        depth: usize,
    ) {
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(name) {
                self.push(Error::required(&path.child(name), ""));
            }
        }
        let bound = |key: &str| {
            schema.get(key).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok())
        };
        if let Some(max) = bound("maxProperties").filter(|max| map.len() > *max) {
            self.push(Error::too_many(path, map.len(), max));
        }
        if let Some(min) = bound("minProperties").filter(|min| map.len() < *min) {
            let value = Value::Object(map.clone());
            self.say(path, &value, &format!("should have at least {min} properties"));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = schema.get("additionalProperties").filter(|a| a.is_object());
        for (name, inner) in map {
            let is_root_metadata =
                depth == 0 && matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
            if is_root_metadata {
                continue;
            }
            let old = old.and_then(|old| old.get(name));
            match (properties.and_then(|properties| properties.get(name)), additional) {
                (Some(schema), _) => {
                    self.value(schema, inner, old, &path.child(name), depth + 1);
                }
                (None, Some(schema)) => {
                    self.value(schema, inner, old, &path.child(name), depth + 1);
                }
                (None, None) => {}
            }
        }
    }

    fn combined(&mut self, schema: &Value, value: &Value, path: &Path, depth: usize) {
        let fits = |schema: &Value| {
            let mut inner = Self { errors: Vec::new() };
            inner.value(schema, value, None, path, depth + 1);
            inner.errors.is_empty()
        };
        let list = |key: &str| schema.get(key).and_then(Value::as_array);
        for inner in list("allOf").into_iter().flatten() {
            self.value(inner, value, None, path, depth + 1);
        }
        if list("anyOf").is_some_and(|any| !any.iter().any(fits)) {
            self.say(path, value, "must validate at least one schema (anyOf)");
        }
        if let Some(one) = list("oneOf") {
            let count = one.iter().filter(|schema| fits(schema)).count();
            if count != 1 {
                let found = if count == 0 {
                    "none valid".to_owned()
                } else {
                    format!("{count} valid alternatives")
                };
                self.say(
                    path,
                    value,
                    &format!("must validate one and only one schema (oneOf). Found {found}"),
                );
            }
        }
        if schema.get("not").is_some_and(fits) {
            self.say(path, value, "must not validate the schema (not)");
        }
    }
}

/// The item of an old list with the same keys as an item of the new one.
fn same_item<'a>(list: &Value, item: &Value, old: &'a Value) -> Option<&'a Value> {
    if list.get("x-kubernetes-list-type")?.as_str()? != "map" {
        return None;
    }
    let names = list.get("x-kubernetes-list-map-keys")?.as_array()?;
    let keys = |item: &'a Value| -> Vec<Option<&'a Value>> {
        names.iter().filter_map(Value::as_str).map(|name| item.get(name)).collect()
    };
    let wanted: Vec<Option<&Value>> =
        names.iter().filter_map(Value::as_str).map(|name| item.get(name)).collect();
    old.as_array()?.iter().find(|old| old.is_object() && keys(old) == wanted)
}

/// Whether a text has a match of the pattern. Patterns are compiled once while there are not too many.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<Box<str>, Option<Regex>>>> =
        LazyLock::new(Mutex::default);
    let known = COMPILED.lock().get(pattern).cloned();
    let regex = known.unwrap_or_else(|| {
        let regex = Regex::new(pattern).ok();
        let mut compiled = COMPILED.lock();
        if compiled.len() >= PATTERNS_KEPT_MAX {
            compiled.clear();
        }
        compiled.insert(pattern.into(), regex.clone());
        regex
    });
    regex.is_some_and(|regex| regex.is_match(text))
}

fn fits_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => text.parse::<ipnet::IpNet>().is_ok(),
        "uuid" => uuid::Uuid::try_parse(text).is_ok(),
        "uri" => text.parse::<http::Uri>().is_ok(),
        "byte" => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(text).is_ok()
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_read_as_upstreams() {
        let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {
        "type": "object", "required": ["name"], "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 10},
            "s": {"type": "string", "pattern": "^a+$", "maxLength": 3},
            "e": {"type": "string", "enum": ["a", "b"]},
            "l": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
            "m": {"type": "object", "additionalProperties": {"type": "object", "properties": {
                "f": {"type": "string", "enum": ["y"]}}}},
        }}}});
        let cases = [
            (json!({}), "spec: Required value"),
            (
                json!({"spec": {"name": 1, "n": "x"}}),
                r#"spec.n: Invalid value: "string": spec.n in body must be of type integer: "string""#,
            ),
            (
                json!({"spec": {"name": 1, "n": 11}}),
                "spec.n: Invalid value: 11: spec.n in body should be less than or equal to 10",
            ),
            (
                json!({"spec": {"name": 1, "s": "b"}}),
                r#"spec.s: Invalid value: "b": spec.s in body should match '^a+$'"#,
            ),
            (
                json!({"spec": {"name": 1, "s": "aaaa"}}),
                "spec.s: Too long: may not be more than 3 bytes",
            ),
            (
                json!({"spec": {"name": 1, "e": "c"}}),
                r#"spec.e: Unsupported value: "c": supported values: "a", "b""#,
            ),
            (
                json!({"spec": {"name": 1, "l": ["a", "b"]}}),
                "spec.l: Too many: 2: must have at most 1 item",
            ),
            (json!({"spec": {}}), "spec.name: Required value"),
            (
                json!({"spec": {"name": 1, "m": {"k": {"f": "x"}}}}),
                r#"spec.m.k.f: Unsupported value: "x": supported values: "y""#,
            ),
        ];
        for (object, expected) in cases {
            let errors: Vec<String> =
                check(&schema, &object).iter().map(ToString::to_string).collect();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert_eq!(errors[0], expected);
        }
    }

    #[test]
    fn what_did_not_change_is_tolerated() {
        let few = json!({"type": "string", "enum": ["foo"]});
        let pair = json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": few}});
        let schema = json!({"type": "object", "properties": {
            "a": few, "b": {"type": "string"},
            "pairs": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"], "items": pair},
            "plain": {"type": "array", "items": few},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        }});
        let old = json!({"a": "bar", "pairs": [{"k": "x", "v": "bar"}], "plain": ["bar"], "set": ["s", "s"]});
        let count = |new: &Value| check_update(&schema, new, &old).len();
        assert_eq!(check(&schema, &old).len(), 4);
        assert_eq!(count(&old), 0);
        let mut new = old.clone();
        new["b"] = json!("more");
        new["pairs"] = json!([{"k": "y", "v": "foo"}, {"k": "x", "v": "bar"}]);
        new["set"] = json!(["s", "s", "t"]);
        assert_eq!(count(&new), 0);
        new["pairs"] = json!([{"k": "x", "v": "baz"}]);
        assert_eq!(count(&new), 1);
        new["plain"] = json!(["bar", "foo"]);
        assert_eq!(count(&new), 2);
        new["a"] = json!("baz");
        assert_eq!(count(&new), 3);
    }
}
