//! `status.conditions` of the general form (`meta/v1 Condition`), which newer kinds have.

use std::collections::BTreeSet;

use super::check::{At, Faults};
use crate::field::Error;

const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
const REASON_TEXT: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// Checks a list of conditions.
pub(super) fn conditions(at: &At<'_>, faults: &mut Faults) {
    let mut kinds = BTreeSet::new();
    for condition in at.items() {
        faults.unique(&condition.get("type"), &mut kinds);
        check(&condition, faults);
    }
}

fn check(at: &At<'_>, faults: &mut Faults) {
    faults.qualified(&at.get("type"));
    let status = at.get("status");
    if !STATUSES.contains(&status.text()) {
        faults.0.push(Error::not_supported(&status.path, status.text(), &STATUSES));
    }
    let generation = at.get("observedGeneration");
    if generation.int().is_some_and(|generation| generation < 0) {
        faults.invalid(&generation, "must be greater than or equal to zero");
    }
    if at.get("lastTransitionTime").is_zero() {
        faults.required(&at.get("lastTransitionTime"), "must be set");
    }
    let reason = at.get("reason");
    if reason.text().is_empty() {
        faults.required(&reason, "must be set");
    } else if !is_reason(reason.text()) {
        faults.invalid(&reason, REASON_TEXT);
    }
    if reason.text().len() > REASON_BYTES_MAX {
        faults.too_long(&reason, REASON_BYTES_MAX);
    }
    if at.get("message").text().len() > MESSAGE_BYTES_MAX {
        faults.too_long(&at.get("message"), MESSAGE_BYTES_MAX);
    }
}

fn is_reason(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(|b| is_word(*b))
        && bytes.iter().all(|b| is_word(*b) || matches!(b, b',' | b':'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn conditions_are_complete() {
        let good = json!({"type": "A", "status": "True", "reason": "B:c", "lastTransitionTime": "2024-01-01T00:00:00Z"});
        let mut bad = good.clone();
        bad["reason"] = json!("9");
        bad["observedGeneration"] = json!(-1);
        let object = json!([good, bad, {"type": "B"}]);
        let mut faults = Faults::default();
        conditions(&At { value: &object, path: crate::field::Path::new("c") }, &mut faults);
        let expected = [
            "c[1].type: Duplicate value: \"A\"".to_owned(),
            "c[1].observedGeneration: Invalid value: -1: must be greater than or equal to zero".to_owned(),
            format!("c[1].reason: Invalid value: \"9\": {REASON_TEXT}"),
            "c[2].status: Unsupported value: \"\": supported values: \"False\", \"True\", \"Unknown\"".to_owned(),
            "c[2].lastTransitionTime: Required value: must be set".to_owned(),
            "c[2].reason: Required value: must be set".to_owned(),
        ];
        assert_eq!(show(&faults.0), expected.join("\n"));
    }
}
