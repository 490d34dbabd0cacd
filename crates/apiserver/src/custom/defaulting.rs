//! Defaults from a structural schema.

use serde_json::Value;

/// Deeper than any structural schema may be.
const DEPTH_MAX: usize = 64;

/// Fills in what the schema has a default for and the value lacks. Nulls that the schema does not allow
/// count as lacking.
pub(super) fn apply(schema: &Value, value: &mut Value, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                let nullable = property.get("nullable") == Some(&Value::Bool(true));
                let default = property.get("default");
                if map.get(name) == Some(&Value::Null) && !nullable && default.is_some() {
                    map.remove(name);
                }
                if let (None, Some(default)) = (map.get(name), default) {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(inner) = map.get_mut(name) {
                    apply(property, inner, depth + 1);
                }
            }
            let additional = schema.get("additionalProperties").filter(|a| a.is_object());
            if let Some(additional) = additional {
                let listed = |name: &str| properties.is_some_and(|p| p.contains_key(name));
                for (_, inner) in map.iter_mut().filter(|(name, _)| !listed(name)) {
                    apply(additional, inner, depth + 1);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for item in items {
                    apply(schema, item, depth + 1);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_fill_gaps_at_every_depth() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "default": "x"},
            "b": {"type": "object", "default": {}, "properties": {"c": {"type": "integer", "default": 3}}},
            "n": {"type": "string", "nullable": true, "default": "y"},
            "l": {"type": "array", "items": {"type": "object", "properties": {"d": {"default": true}}}},
        }});
        let mut value = json!({"a": null, "n": null, "l": [{}]});
        apply(&schema, &mut value, 0);
        assert_eq!(value, json!({"a": "x", "b": {"c": 3}, "n": null, "l": [{"d": true}]}));
    }
}
