//! Defaults in a definition: each is valid itself, and has no field that would be pruned.

use api::field::{Error, Path};
use codec::Mode;
use schema::Schema;
use serde_json::Value;

use crate::custom::validation;

/// The faults of all defaults of a structural schema. Below `additionalProperties` there are none.
pub(super) fn faults(schema: &Value, path: &Path, pruned: bool) -> Vec<Error> {
    let mut errors = Vec::new();
    collect(schema, path, pruned, &mut errors);
    errors
}

/// Whether a schema's own default has fields that the schema does not know.
pub(super) fn unpruned(schema: &Value) -> bool {
    let Some(default) = schema.get("default").filter(|default| !default.is_null()) else {
        return false;
    };
    // What has the wrong type is a fault of another kind.
    let Ok(schema) = Schema::from_openapi(schema) else { return false };
    let decoded = codec::json::decode_value(default, &schema, Mode::Warn);
    decoded.is_ok_and(|decoded| decoded.warnings.iter().any(|w| w.starts_with("unknown field")))
}

fn collect(schema: &Value, path: &Path, pruned: bool, errors: &mut Vec<Error>) {
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let path = path.child("default");
        if pruned && unpruned(schema) {
            let detail = "must not have unknown fields";
            errors.push(Error::invalid(&path, default.clone(), detail));
        }
        errors.extend(validation::check_at(schema, default, &path));
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        collect(items, &path.child("items"), pruned, errors);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        collect(property, &path.child("properties").key(name), pruned, errors);
    }
}
