//! Whether an object still says what its manifest says. A "no" costs one apply that may change nothing, so
//! that other spellings of a value (`1000m` for `1`) need no understanding here.

use serde_json::Value;

/// Whether everything in `wanted` is in `live`, which may have more fields.
pub(crate) fn holds(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        // The server keeps no empty values, and a null asks for the absence of its field.
        (Value::Null, _) => live.is_null(),
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().all(|(key, wanted)| {
            live.get(key).map_or_else(|| is_empty(wanted), |live| holds(wanted, live))
        }),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len()
                && wanted.iter().zip(live).all(|(wanted, live)| holds(wanted, live))
        }
        (wanted, live) => wanted == live,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn more_is_fine_and_other_is_not() {
        let wanted = json!({"data": {"a": "1"}, "list": [{"name": "x"}], "none": {}, "gone": null});
        let cases = [
            (json!({"data": {"a": "1", "b": "2"}, "list": [{"name": "x", "more": 1}]}), true),
            (json!({"data": {"a": "2"}, "list": [{"name": "x"}]}), false),
            (json!({"data": {}, "list": [{"name": "x"}]}), false),
            (json!({"data": {"a": "1"}, "list": []}), false),
            (json!({"data": {"a": "1"}, "list": [{"name": "x"}], "gone": 1}), false),
            (json!(null), false),
        ];
        for (live, wanted_answer) in cases {
            assert_eq!(holds(&wanted, &live), wanted_answer, "{live}");
        }
    }
}
