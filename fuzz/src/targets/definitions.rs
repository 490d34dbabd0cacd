//! Definitions of custom resources: schemas, rules and paths that users bring, and objects held against them.

use codec::Mode;
use serde_json::Value;

use super::{USUAL, halves, joined};
use crate::{Target, seeds};

pub(super) const TARGET: Target = Target {
    name: "definitions",
    seeds: || vec![joined(seeds::definition().to_string(), seeds::widget().to_string())],
    words: &[
        "\"type\":\"object\"",
        "\"type\":\"array\"",
        "\"items\":{",
        "\"properties\":{",
        "\"default\":",
        "\"additionalProperties\":{",
        "\"x-kubernetes-int-or-string\":true",
        "\"nullable\":true",
        "\"allOf\":[",
        "\"not\":{",
        "\"pattern\":\"",
        "\"format\":\"ipv4\"",
        "\"multipleOf\":0",
        "\"uniqueItems\":true",
        "\"x-kubernetes-validations\":[{\"rule\":\"",
        "self.",
        "oldSelf",
        "\"optionalOldSelf\":true",
        "\"fieldPath\":\".",
        "\"jsonPath\":\".",
        "[?(@.",
        "['",
        "\"minimum\":1e400",
        "\"maxLength\":-1",
    ],
    test_mutations: 200,
    run,
    ..USUAL
};

fn run(input: &[u8]) {
    let (definition, object) = halves(input);
    let Some(schema) = schema::for_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    else {
        return;
    };
    let Ok(definition) = codec::json::decode(definition, &schema, Mode::Warn) else { return };
    let object = codec::json::decode_any(object).unwrap_or(Value::Null);
    if object.is_object() {
        let _faults = apiserver::fuzzing::define_and_create(&definition.value, &object);
    }
}
