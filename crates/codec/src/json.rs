//! JSON bodies: decoding against a schema, and the little that is read before the schema is known.
//!
//! The parser is our own because the API promises what general ones do not give: both the path and
//! the kind of every unknown or duplicate field in one pass, integers kept apart from floats, Go's
//! replacement of broken text, and Go's error texts, which clients and tests match on.

use schema::Schema;
use serde_json::Value;

use crate::{
    limits::BODY_BYTES_MAX,
    result::{DecodeError, Decoded, Mode, TypeMeta},
};

mod decode;
mod go_type;
mod scalar;
mod scanner;
mod union;

/// Decodes an object against its schema.
///
/// Fields that the schema does not know are dropped, as are nulls of built-in kinds (null means
/// unset). Times and base64 of built-in kinds come out in the one form that upstream writes.
///
/// # Errors
/// [`DecodeError::Syntax`], [`DecodeError::Type`], [`DecodeError::TooLarge`], and in
/// [`Mode::Strict`] [`DecodeError::Strict`].
pub fn decode(bytes: &[u8], schema: &Schema, mode: Mode) -> Result<Decoded, DecodeError> {
    decode_after(bytes, schema, mode, Vec::new())
}

/// As [`decode`], with strictness errors found by an earlier stage (YAML).
pub(crate) fn decode_after(
    bytes: &[u8],
    schema: &Schema,
    mode: Mode,
    earlier: Vec<String>,
) -> Result<Decoded, DecodeError> {
    check_size(bytes)?;
    let (value, mut found) = decode::run(bytes, schema)?;
    if mode == Mode::Ignore {
        return Ok(Decoded { value, warnings: Vec::new() });
    }
    let mut errors = earlier;
    errors.append(&mut found);
    if mode == Mode::Strict && !errors.is_empty() {
        return Err(DecodeError::Strict(errors));
    }
    Ok(Decoded { value, warnings: errors })
}

/// Brings a tree that is in memory already (a patched object) under its schema, as [`decode`] does with text.
///
/// # Errors
/// As [`decode`].
pub fn decode_value(value: &Value, schema: &Schema, mode: Mode) -> Result<Decoded, DecodeError> {
    decode(value.to_string().as_bytes(), schema, mode)
}

/// Decodes any JSON value, without a schema: patches, and bodies whose kind is looked up later.
///
/// # Errors
/// [`DecodeError::Syntax`] and [`DecodeError::TooLarge`].
pub fn decode_any(bytes: &[u8]) -> Result<Value, DecodeError> {
    check_size(bytes)?;
    decode::run(bytes, &Schema::any()).map(|(value, _)| value)
}

/// Reads `apiVersion` and `kind` of an object, and nothing else.
///
/// # Errors
/// [`DecodeError::Syntax`] with upstream's prefix if the text is not JSON or not an object.
pub fn type_meta(bytes: &[u8]) -> Result<TypeMeta, DecodeError> {
    check_size(bytes)?;
    decode::type_meta(bytes).map_err(|error| {
        DecodeError::Syntax(format!("couldn't get version/kind; json parse error: {error}"))
    })
}

fn check_size(bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.len() > BODY_BYTES_MAX { Err(DecodeError::TooLarge) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
