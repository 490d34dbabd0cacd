//! The past of `kubectl apply` on the client: what its annotation says it applied, it owns.

use serde_json::Value;

use crate::fields::{FieldSet, compare, of_object, validate};
use crate::managers::Write;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn annotation(object: &Value) -> Option<&str> {
    let text = object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str()?;
    (!text.is_empty()).then_some(text)
}

/// The fields that were applied by the client and are still as they were; nothing without such a past.
pub(super) fn allowed(live: &Value, write: &Write<'_>) -> Option<FieldSet> {
    let applied: Value = serde_json::from_str(annotation(live)?).ok()?;
    if applied.get("apiVersion").and_then(Value::as_str) != Some(write.api_version)
        || !validate(&applied, write.schema).is_empty()
    {
        return None;
    }
    let changes = compare(&applied, live, write.schema);
    let fields = of_object(&applied, write.schema);
    let stale = changes.modified.union(&changes.added).union(&changes.removed);
    Some(fields.difference(&stale))
}

/// Keeps the annotation, where there is one, at what is applied now, so that the client's own apply
/// goes on from here.
pub(super) fn refresh(object: &mut Value, applied: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(annotations) =
        applied.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(ANNOTATION);
        if annotations.is_empty() {
            api::meta::remove(&mut applied, "annotations");
        }
    }
    let text = format!("{applied}\n");
    if let Some(annotations) =
        object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.insert(ANNOTATION.to_owned(), Value::String(text));
    }
}
