//! JSON bodies as the API server decodes them: kind first, then against the schema.

use std::sync::LazyLock;

use codec::json;
use schema::Schema;

use super::{USUAL, choice, with_choices};
use crate::{Target, seeds};

pub(super) const TARGET: Target = Target {
    name: "json",
    seeds: || {
        let bodies: Vec<_> =
            seeds::objects().iter().map(|it| it.to_string().into_bytes()).collect();
        with_choices(4, &bodies)
    },
    words: WORDS,
    run,
    ..USUAL
};

/// Words of JSON and of objects.
pub(super) const WORDS: &[&str] = &[
    "null",
    "true",
    "false",
    "-0",
    "1e999",
    "1E-7",
    "9223372036854775808",
    "0.1",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "\"\"",
    "{}",
    "[]",
    "[[[[[[[[",
    "{\"\":",
    "\"kind\":",
    "\"apiVersion\":",
    "\"metadata\":",
    "\"\u{fffd}\"",
    "\"a\":1,\"a\":2,",
    "\u{feff}",
];

pub(super) static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(seeds::schemas);

/// A schema and a mode out of one byte.
pub(super) fn chosen(choice: u8) -> (&'static Schema, codec::Mode) {
    let schemas = &*SCHEMAS;
    let (schema, mode) = (usize::from(choice) % schemas.len(), usize::from(choice) / schemas.len());
    (&schemas[schema], seeds::MODES[mode % seeds::MODES.len()])
}

fn run(input: &[u8]) {
    let (choice, body) = choice(input);
    let (schema, mode) = chosen(choice);
    let _meta = json::type_meta(body).is_ok();
    if let Ok(any) = json::decode_any(body) {
        let again = json::decode_any(any.to_string().as_bytes());
        assert_eq!(again.as_ref(), Ok(&any), "what was read is written as it was");
    }
    if let Ok(decoded) = json::decode(body, schema, mode) {
        let again = json::decode_value(&decoded.value, schema, codec::Mode::Strict);
        assert!(again.is_ok(), "what was decoded is decodable: {again:?}");
        let mut value = decoded.value;
        if let Some(definition) = schema.definition_name() {
            codec::go_form(&mut value, definition);
        }
    }
}
