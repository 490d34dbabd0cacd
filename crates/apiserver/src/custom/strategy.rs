//! What is particular to a custom resource: all of it comes from the schema in its definition.

use api::field::{Error, ErrorType, Path};
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
        Self { schema, rules, has_status, selectable, selectable_anywhere }
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
            errors.extend(self.rules.check(new, old));
        } else if self.rules.exist() {
            let detail = "some validation rules were not checked because the object was invalid; \
                correct the existing errors to complete validation";
            errors.push(Error::invalid(&Path::root(), "null", detail));
        }
        errors
    }
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
