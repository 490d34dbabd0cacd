//! YAML bodies: the dialect of `sigs.k8s.io/yaml`, which is go-yaml v2.
//!
//! A document is turned into JSON text and decoded as such, as upstream does. Plain scalars are
//! resolved by YAML 1.1 (`yes`, `on`, `0o17`, `017`, `1_000`); merge keys work; an alias costs what it
//! expands to, so that no small document becomes a large one. The parser of the syntax is
//! `granit-parser` (through `serde-saphyr`).

use schema::Schema;
use serde_json::Value;

use crate::{
    json,
    limits::BODY_BYTES_MAX,
    result::{DecodeError, Decoded, Mode, TypeMeta},
};

mod build;
mod emit;
mod resolve;

/// Decodes the first document of a text against a schema.
///
/// # Errors
/// [`DecodeError::Yaml`], and those of [`json::decode`].
pub fn decode(bytes: &[u8], schema: &Schema, mode: Mode) -> Result<Decoded, DecodeError> {
    let (value, duplicates) = first(bytes)?;
    let earlier = duplicate_errors(&duplicates);
    json::decode_after(&to_json(&value), schema, mode, earlier)
}

/// Reads `apiVersion` and `kind` of the first document.
///
/// # Errors
/// [`DecodeError::Yaml`], and those of [`json::type_meta`].
pub fn type_meta(bytes: &[u8]) -> Result<TypeMeta, DecodeError> {
    json::type_meta(&to_json(&first(bytes)?.0))
}

/// The first document as a JSON value, without a schema; an empty text is null.
///
/// # Errors
/// [`DecodeError::Yaml`] and [`DecodeError::TooLarge`].
pub fn to_value(bytes: &[u8]) -> Result<Value, DecodeError> {
    first(bytes).map(|(value, _)| value)
}

/// All documents of a text as JSON values, empty ones left out: for manifest files.
///
/// # Errors
/// [`DecodeError::Yaml`] and [`DecodeError::TooLarge`].
pub fn documents(bytes: &[u8]) -> Result<Vec<Value>, DecodeError> {
    let documents = build::documents(checked(bytes)?, usize::MAX)?;
    Ok(documents.into_iter().map(|(value, _)| value).filter(|value| !value.is_null()).collect())
}

/// Writes a value as YAML text in the layout of upstream.
pub fn encode(value: &Value) -> String {
    let mut out = String::with_capacity(512);
    emit::write(&mut out, value, 0);
    out
}

fn first(bytes: &[u8]) -> Result<(Value, Vec<String>), DecodeError> {
    let mut documents = build::documents(checked(bytes)?, 1)?;
    Ok(documents.pop().unwrap_or((Value::Null, Vec::new())))
}

fn checked(bytes: &[u8]) -> Result<&str, DecodeError> {
    if bytes.len() > BODY_BYTES_MAX {
        return Err(DecodeError::TooLarge);
    }
    std::str::from_utf8(bytes).map_err(|error| {
        DecodeError::Yaml(format!("yaml: invalid UTF-8 at byte {}", error.valid_up_to()))
    })
}

/// Upstream reports all duplicate keys of a document as one error.
fn duplicate_errors(duplicates: &[String]) -> Vec<String> {
    if duplicates.is_empty() {
        return Vec::new();
    }
    vec![format!("yaml: unmarshal errors:\n  {}", duplicates.join("\n  "))]
}

fn to_json(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests;
