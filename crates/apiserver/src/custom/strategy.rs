//! What is particular to a custom resource: all of it comes from the schema in its definition.

use std::sync::atomic::{AtomicBool, Ordering};

use api::field::{Error, ErrorType, Path};
use api::meta;
use api::object::SelectableFields;
use api::resource::Strategy;
use schema::Schema;
use serde_json::Value;

use super::rules::Rules;
use super::{defaulting, validation};
use crate::handle::text;
use crate::json_path;

pub(crate) struct CustomStrategy {
    schema: Value,
    rules: Rules,
    has_status: bool,
    /// Whether a rule's fault has been tolerated: only then are the rules asked again for warnings.
    tolerates: AtomicBool,
    /// Paths of selectable fields as a query names them. They live as long as the program, because a
    /// field selector's answer is kept with every object; a version has at most eight.
    selectable: Vec<&'static str>,
    /// Those of all versions: the stored object is selected from in any of them.
    selectable_anywhere: Vec<&'static str>,
}

fn selectable_paths(version: &Value) -> Vec<&'static str> {
    let fields = version.get("selectableFields").and_then(Value::as_array);
    let fields = fields.into_iter().flatten();
    fields.map(|field| text(field, "/jsonPath").trim_start_matches('.')).map(interned).collect()
}

impl CustomStrategy {
    pub(crate) fn new(
        schema: Value,
        parsed: &Schema,
        version: &Value,
        all_versions: &[&Value],
        has_status: bool,
    ) -> Self {
        let mut selectable_anywhere: Vec<&'static str> =
            all_versions.iter().flat_map(|version| selectable_paths(version)).collect();
        selectable_anywhere.sort_unstable();
        selectable_anywhere.dedup();
        let selectable = selectable_paths(version);
        let rules = Rules::new(&schema, parsed);
        let tolerates = AtomicBool::new(false);
        Self { schema, rules, has_status, tolerates, selectable, selectable_anywhere }
    }
}

impl CustomStrategy {
    /// Faults of the schema with those of the rules, which can be checked only if values are of the right
    /// types and sizes.
    fn with_rules(&self, mut errors: Vec<Error>, new: &Value, old: Option<&Value>) -> Vec<Error> {
        let blocks = |error: &Error| {
            matches!(
                error.kind,
                ErrorType::NotSupported
                    | ErrorType::Required
                    | ErrorType::TooLong
                    | ErrorType::TooMany
                    | ErrorType::TypeInvalid
            )
        };
        if !errors.iter().any(blocks) {
            let found = self.rules.check(new, old);
            if !found.tolerated.is_empty() {
                self.tolerates.store(true, Ordering::Relaxed);
            }
            errors.extend(found.errors);
        } else if self.rules.exist() {
            let detail = "some validation rules were not checked because the object was invalid; \
                correct the existing errors to complete validation";
            errors.push(Error::invalid(&Path::root(), "null", detail));
        }
        errors
    }
}

/// What is doubtful about the name of a finalizer.
fn doubts(finalizer: &str) -> Vec<String> {
    let say = |what: &str| format!("metadata.finalizers: {finalizer:?}: {what}");
    let mut doubts = Vec::new();
    let faults = api::name::qualified(finalizer).err().into_iter().flatten();
    doubts.extend(faults.map(|what| say(&what)));
    if !finalizer.contains('/') && !api::name::is_standard_finalizer(finalizer) {
        let path = if finalizer.contains('.') { " including a path (/)" } else { "" };
        doubts.push(say(&format!(
            "prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        )));
    }
    doubts
}

/// One static copy of each distinct path, however often a definition changes.
fn interned(path: &str) -> &'static str {
    static PATHS: parking_lot::Mutex<Vec<&'static str>> = parking_lot::Mutex::new(Vec::new());
    let mut paths = PATHS.lock();
    if let Some(known) = paths.iter().find(|known| **known == path) {
        return known;
    }
    let fresh: &'static str = Box::leak(path.to_owned().into_boxed_str());
    paths.push(fresh);
    fresh
}

impl Strategy for CustomStrategy {
    fn default(&self, object: &mut Value) {
        defaulting::apply(&self.schema, object, 0);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        self.with_rules(validation::check(&self.schema, object), object, None)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        self.with_rules(validation::check_update(&self.schema, new, old), new, Some(old))
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        debug_assert!(self.has_status, "only a resource with a status has its update checked");
        self.validate_update(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let had = old.map(meta::finalizers).unwrap_or_default();
        let mut added = meta::finalizers(new);
        added.retain(|finalizer| !had.contains(finalizer));
        added.sort_unstable();
        added.dedup();
        let mut warnings: Vec<String> = added.into_iter().flat_map(doubts).collect();
        if old.is_some() && self.tolerates.load(Ordering::Relaxed) {
            let found = self.rules.check(new, old);
            warnings.extend(found.tolerated.iter().map(ToString::to_string));
        }
        warnings
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        let value = |path: &'static str| {
            let found = json_path::find(object, &format!(".{path}"));
            match found.first() {
                Some(Value::String(text)) => text.as_str().into(),
                Some(Value::Null) | None => "".into(),
                Some(other) => other.to_string().into_boxed_str(),
            }
        };
        // Asked of no object, it is the version's own fields that are meant.
        let paths = if object.is_null() { &self.selectable } else { &self.selectable_anywhere };
        paths.iter().map(|path| (*path, value(path))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn warnings_are_of_finalizers_that_are_new_and_of_faults_that_are_old() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "string",
            "x-kubernetes-validations": [{"rule": "self == 'good'"}]}}});
        let parsed = Schema::custom_resource(&schema).unwrap();
        let strategy = CustomStrategy::new(schema, &parsed, &json!({}), &[], false);
        let object = |finalizers: &[&str], spec: &str| json!({"metadata": {"finalizers": finalizers}, "spec": spec});
        let prefer = "prefer a domain-qualified finalizer name";
        let tail = "to avoid accidental conflicts with other finalizer writers";
        let cases = [
            (vec!["acme.com/x", "orphan"], vec![]),
            (
                vec!["acme.com"],
                vec![format!(
                    "metadata.finalizers: \"acme.com\": {prefer} including a path (/) {tail}"
                )],
            ),
            (vec!["x"], vec![format!("metadata.finalizers: \"x\": {prefer} {tail}")]),
        ];
        for (finalizers, expected) in cases {
            let new = object(&finalizers, "good");
            assert_eq!(strategy.warnings(&new, None), expected, "{finalizers:?}");
            assert_eq!(strategy.warnings(&new, Some(&new)), [""; 0], "{finalizers:?}");
        }
        let old = object(&[], "bad");
        assert_eq!(strategy.validate_update(&old, &old), []);
        let expected = "spec: Invalid value: \"string\": failed rule: self == 'good'";
        assert_eq!(strategy.warnings(&old, Some(&old)), [expected]);
        assert_eq!(strategy.warnings(&object(&[], "good"), Some(&old)), [""; 0]);
    }
}
