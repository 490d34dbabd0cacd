//! Schemas in, faults out.

use serde_json::json;

use super::*;

fn definition(schema: Value) -> Value {
    json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}})
}

fn row() -> std::sync::Arc<Resource> {
    let rows = api::kinds::all();
    rows.iter().find(|row| row.plural == "customresourcedefinitions").cloned().expect("built in")
}

fn check(schema: Value, expected: &[&str]) {
    let found: Vec<String> = faults(&row(), &definition(schema), None)
        .iter()
        .map(|error| error.to_string().replace("spec.versions[0].schema.openAPIV3Schema", "S"))
        .collect();
    assert_eq!(found, expected);
}

fn with(property: Value) -> Value {
    json!({"type": "object", "properties": {"a": property}})
}

#[test]
fn good_schemas_have_no_faults() {
    check(
        json!({"type": "object", "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}},
            "spec": {"type": "object", "default": {"a": "x"}, "properties": {
                "a": {"type": "string", "default": "x"},
                "port": {"x-kubernetes-int-or-string": true,
                    "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "any": {"x-kubernetes-preserve-unknown-fields": true},
                "keyed": {"type": "array", "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object",
                        "required": ["k"], "properties": {"k": {"type": "string"}}}}},
                "oneOf": [{"required": ["a"]}, {"required": ["port"]}]}}}),
        &[],
    );
}

#[test]
fn types_are_required() {
    check(json!({}), &["S.type: Required value: must not be empty at the root"]);
    check(
        with(json!({})),
        &["S.properties[a].type: Required value: must not be empty for specified object fields"],
    );
    check(
        with(json!({"type": "array"})),
        &["S.properties[a].items: Required value: must be specified"],
    );
    check(
        with(json!({"type": "array", "items": {}})),
        &[
            "S.properties[a].items.type: Required value: must not be empty for specified array items",
        ],
    );
    check(
        json!({"type": "object", "additionalProperties": true}),
        &["S.additionalProperties: Forbidden: must not be used at the root"],
    );
}

#[test]
fn junctors_only_validate() {
    check(
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [
            {"properties": {"a": {"type": "string", "minLength": 1}, "b": {"pattern": "x"}}}]}),
        &[
            "S.anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
            "S.properties[b]: Required value: because it is defined in S.anyOf[0].properties[b]",
        ],
    );
    check(
        with(json!({"type": "string", "not": {"default": "x", "nullable": true}})),
        &[
            "S.properties[a].not.default: Forbidden: must be undefined to be structural",
            "S.properties[a].not.nullable: Forbidden: must be false to be structural",
        ],
    );
}

#[test]
fn metadata_is_implicit() {
    check(
        json!({"type": "object", "properties": {"metadata": {"type": "object",
            "properties": {"labels": {"type": "object"}}}}}),
        &[
            "S.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ],
    );
}

#[test]
fn lists_have_consistent_keys() {
    check(
        with(json!({"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k", "x"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}}}})),
        &[
            "S.properties[a].x-kubernetes-list-map-keys: Invalid value: [\"k\",\"x\"]: entries must all be names of item properties",
            "S.properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ],
    );
    check(
        with(json!({"type": "string", "x-kubernetes-list-type": "set"})),
        &[
            "S.properties[a].type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified",
        ],
    );
    check(
        with(json!({"type": "object", "properties": {"b": {"type": "string"}},
            "additionalProperties": {"type": "string"}})),
        &[
            "S.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ],
    );
}

#[test]
fn defaults_fit_their_schema() {
    check(
        with(json!({"type": "string", "default": 5})),
        &[
            "S.properties[a].default: Invalid value: \"integer\":  in body must be of type string: \"integer\"",
        ],
    );
    check(
        with(
            json!({"type": "object", "default": {"x": 1}, "properties": {"b": {"type": "string"}}}),
        ),
        &["S.properties[a].default: Invalid value: {\"x\":1}: must not have unknown fields"],
    );
}

#[test]
fn an_old_fault_stays_allowed() {
    let old = definition(with(json!({"type": "array", "items": {"type": "array",
        "x-kubernetes-list-type": "set", "items": {"type": "string"}}, "x-kubernetes-list-type": "set"})));
    assert_eq!(faults(&row(), &old, None).len(), 1);
    assert_eq!(faults(&row(), &old, Some(&old)), []);
}
