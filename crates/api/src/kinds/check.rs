//! Checking an object: a place in it that knows its path, and a collector of faults.

use std::collections::BTreeSet;

use serde_json::Value;

use super::tree;
use crate::field::{Error, Path};
use crate::name;

static NULL: Value = Value::Null;

/// What a field must look like: the text to show behind `Invalid value` otherwise.
pub(super) type Rule = fn(&str) -> Result<(), String>;

/// A place in an object, there or not.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    /// What is there; null when nothing is.
    pub(super) value: &'a Value,
    /// Its path.
    pub(super) path: Path,
}

impl<'a> At<'a> {
    /// The object itself.
    pub(super) fn root(value: &'a Value) -> Self {
        Self { value, path: Path::root() }
    }

    /// A field.
    pub(super) fn get(&self, name: &str) -> Self {
        Self { value: self.value.get(name).unwrap_or(&NULL), path: self.path.child(name) }
    }

    /// A field of a field.
    pub(super) fn get2(&self, first: &str, second: &str) -> Self {
        self.get(first).get(second)
    }

    /// A place beside this one that is not there, to name it in a fault.
    pub(super) fn named(&self, name: &str) -> Self {
        Self { value: &NULL, path: self.path.child(name) }
    }

    /// What is at `other`, under a path beside this one: where upstream's paths leave out a step.
    pub(super) fn named_value(&self, name: &str, other: &Self) -> Self {
        Self { value: other.value, path: self.path.child(name) }
    }

    /// The items of a list.
    pub(super) fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let path = self.path.clone();
        let list = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().enumerate().map(move |(i, value)| Self { value, path: path.index(i) })
    }

    /// The entries of a map.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Self)> + use<'a> {
        let path = self.path.clone();
        self.value.as_object().into_iter().flatten().map(move |(key, value)| {
            let path = path.key(key);
            (key.as_str(), Self { value, path })
        })
    }

    /// Whether something is there.
    pub(super) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether nothing is there, or something that says nothing (an empty text, 0, ...).
    pub(super) fn is_zero(&self) -> bool {
        tree::is_zero(self.value)
    }

    /// Number of items or entries.
    pub(super) fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }

    /// The text, empty when there is none.
    pub(super) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The whole number.
    pub(super) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// The flag, false when missing.
    pub(super) fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or_default()
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults(pub(super) Vec<Error>);

impl Faults {
    /// The field must be set.
    pub(super) fn required(&mut self, at: &At<'_>, detail: &str) {
        self.0.push(Error::required(&at.path, detail));
    }

    /// The value is wrong.
    pub(super) fn invalid(&mut self, at: &At<'_>, detail: impl Into<String>) {
        self.0.push(Error::invalid(&at.path, at.value.clone(), detail));
    }

    /// Another value than the one there is shown as wrong.
    pub(super) fn invalid_as(
        &mut self,
        at: &At<'_>,
        shown: impl Into<Value>,
        detail: impl Into<String>,
    ) {
        self.0.push(Error::invalid(&at.path, shown, detail));
    }

    /// Something is wrong that has no one value to show.
    pub(super) fn invalid_bare(&mut self, at: &At<'_>, detail: impl Into<String>) {
        let shown = Error::invalid(&at.path, Value::Null, detail);
        self.0.push(Error { value: None, ..shown });
    }

    /// More than `max` items.
    pub(super) fn at_most(&mut self, at: &At<'_>, max: usize) {
        if at.len() > max {
            self.0.push(Error::too_many(&at.path, at.len(), max));
        }
    }

    /// The field may not be set or changed.
    pub(super) fn forbidden(&mut self, at: &At<'_>, detail: impl Into<String>) {
        self.0.push(Error::forbidden(&at.path, detail));
    }

    /// The value is none of a closed set.
    pub(super) fn not_supported(&mut self, at: &At<'_>, supported: &[&str]) {
        self.0.push(Error::not_supported(&at.path, at.value.clone(), supported));
    }

    /// The value occurs twice.
    pub(super) fn duplicate(&mut self, at: &At<'_>) {
        self.0.push(Error::duplicate(&at.path, at.value.clone()));
    }

    /// The value names nothing.
    pub(super) fn not_found(&mut self, at: &At<'_>) {
        self.0.push(Error::not_found(&at.path, at.value.clone()));
    }

    /// More than `max` bytes.
    pub(super) fn too_long(&mut self, at: &At<'_>, max: usize) {
        self.0.push(Error::too_long(&at.path, max));
    }

    /// The text must follow a rule.
    pub(super) fn rule(&mut self, at: &At<'_>, rule: Rule) {
        if let Err(fault) = rule(at.text()) {
            self.invalid_as(at, at.text(), fault);
        }
    }

    /// The text must be there and follow a rule.
    pub(super) fn required_rule(&mut self, at: &At<'_>, rule: Rule) {
        if at.text().is_empty() { self.required(at, "") } else { self.rule(at, rule) }
    }

    /// The text must be a qualified name; whether it is.
    pub(super) fn qualified(&mut self, at: &At<'_>) -> bool {
        self.qualified_as(at, at.text(), at.text())
    }

    /// The same of another text than the place's own, and of one that is shown for it.
    pub(super) fn qualified_as(&mut self, at: &At<'_>, text: &str, shown: &str) -> bool {
        let Err(faults) = name::qualified(text) else { return true };
        for fault in faults {
            self.invalid_as(at, shown, fault);
        }
        false
    }

    /// The text must be there and one of `supported`.
    pub(super) fn one_of(&mut self, at: &At<'_>, supported: &[&str]) {
        if at.text().is_empty() {
            self.required(at, "");
        } else {
            self.optional_one_of(at, supported);
        }
    }

    /// The text must be one of `supported`, when there.
    pub(super) fn optional_one_of(&mut self, at: &At<'_>, supported: &[&str]) {
        if at.is_set() && !supported.contains(&at.text()) {
            self.not_supported(at, supported);
        }
    }

    /// The number may not be less than 0.
    pub(super) fn non_negative(&mut self, at: &At<'_>) {
        if at.int().is_some_and(|number| number < 0) {
            self.invalid(at, NEGATIVE);
        }
    }

    /// The number must be more than 0.
    pub(super) fn positive(&mut self, at: &At<'_>) {
        if at.int().is_some_and(|number| number <= 0) {
            self.invalid(at, "must be greater than 0");
        }
    }

    /// The number must be a port.
    pub(super) fn port(&mut self, at: &At<'_>) {
        if !(1..=65535).contains(&at.int().unwrap_or_default()) {
            self.invalid_as(at, at.int().unwrap_or_default(), PORT_RANGE);
        }
    }

    /// A number that is a port, or a text that is a port's name.
    pub(super) fn port_number_or_name(&mut self, at: &At<'_>) {
        match at.value {
            Value::String(text) => {
                if let Err(faults) = name::port_name(text) {
                    faults.into_iter().for_each(|fault| self.invalid(at, fault));
                }
            }
            _ => self.port(at),
        }
    }

    /// The new value must mean the same as the old.
    pub(super) fn immutable(&mut self, new: &At<'_>, old: &At<'_>) {
        self.immutable_because(new, old, "field is immutable");
    }

    /// The same with a text of its own.
    pub(super) fn immutable_because(&mut self, new: &At<'_>, old: &At<'_>, detail: &str) {
        if !tree::same(new.value, old.value) {
            self.invalid(new, detail);
        }
    }

    /// The text may occur once among those `seen`.
    pub(super) fn unique<'a>(&mut self, at: &At<'a>, seen: &mut BTreeSet<&'a str>) {
        if !at.text().is_empty() && !seen.insert(at.text()) {
            self.duplicate(at);
        }
    }

    /// Keys and values of labels.
    pub(super) fn labels(&mut self, at: &At<'_>) {
        for (key, value) in at.entries() {
            self.qualified_as(at, key, key);
            if let Err(fault) = name::label_value(value.text()) {
                self.invalid_as(at, value.text(), fault);
            }
        }
    }

    /// Keys and size of annotations.
    pub(super) fn annotations(&mut self, at: &At<'_>) {
        let mut size = 0;
        for (key, value) in at.entries() {
            self.qualified_as(at, &key.to_lowercase(), key);
            size += key.len() + value.text().len();
        }
        if size > ANNOTATIONS_BYTES_MAX {
            self.too_long(at, ANNOTATIONS_BYTES_MAX);
        }
    }

    /// A label selector.
    pub(super) fn label_selector(&mut self, at: &At<'_>) {
        self.labels(&at.get("matchLabels"));
        for requirement in at.get("matchExpressions").items() {
            self.selector_requirement(&requirement);
        }
    }

    fn selector_requirement(&mut self, at: &At<'_>) {
        let values = at.get("values");
        match at.get("operator").text() {
            "In" | "NotIn" if values.len() == 0 => {
                self.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if values.len() > 0 => self.forbidden(
                &values,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "Exists" | "DoesNotExist" => {}
            _ => self.invalid_as(
                &at.get("operator"),
                at.get("operator").text(),
                "not a valid selector operator",
            ),
        }
        self.qualified(&at.get("key"));
        for value in values.items() {
            self.rule(&value, name::label_value);
        }
    }
}

/// All annotations of one object together, in bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// What is wrong with a number below 0.
pub(super) const NEGATIVE: &str = "must be greater than or equal to 0";
/// What is wrong with a number that is no port.
pub(super) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

/// All faults as one text per line: for tests.
#[cfg(test)]
pub(super) fn show(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
