//! From the JSON tree to the wire.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{
    special,
    table::{self, Field, Message, Presence, Repeat, Shape},
    wire::{write_bytes_field, write_double_field, write_nested, write_varint_field},
};
use crate::result::DecodeError;

/// Appends the bytes of a message.
pub(super) fn run(
    out: &mut Vec<u8>,
    value: &Value,
    message: &'static Message,
) -> Result<(), DecodeError> {
    if let Some(special) = message.special {
        return special::write(out, value, message, special);
    }
    match value {
        Value::Object(map) => fields(out, map, message),
        Value::Null => fields(out, &Map::new(), message),
        _ => Err(wrong_value(message.name, value)),
    }
}

pub(super) fn wrong_value(place: &str, value: &Value) -> DecodeError {
    DecodeError::Protobuf(format!("proto: {place} cannot hold {value}"))
}

fn fields(
    out: &mut Vec<u8>,
    map: &Map<String, Value>,
    message: &'static Message,
) -> Result<(), DecodeError> {
    for field in &message.fields {
        if let (Presence::Inline, Shape::Message(index)) = (field.presence, field.shape) {
            write_nested(out, field.number, |out| fields(out, map, table::message(index)))?;
            continue;
        }
        let value = map.get(field.name).filter(|value| !value.is_null());
        match (field.repeat, value) {
            (Repeat::One, Some(value)) => one(out, field, field.number, value)?,
            (Repeat::One, None) => absent(out, field)?,
            (_, None) => {}
            (Repeat::List, Some(Value::Array(items))) => {
                for item in items {
                    one(out, field, field.number, item)?;
                }
            }
            (Repeat::Map, Some(Value::Object(entries))) => {
                for (key, value) in entries {
                    write_nested(out, field.number, |out| {
                        write_bytes_field(out, 1, key.as_bytes());
                        one(out, field, 2, value)
                    })?;
                }
            }
            (_, Some(value)) => return Err(wrong_value(field.name, value)),
        }
    }
    Ok(())
}

/// One value of a field, under a number of its own in the entries of a map.
fn one(out: &mut Vec<u8>, field: &Field, number: u32, value: &Value) -> Result<(), DecodeError> {
    let wrong = || wrong_value(field.name, value);
    match field.shape {
        Shape::String => {
            write_bytes_field(out, number, value.as_str().ok_or_else(wrong)?.as_bytes())
        }
        Shape::Bytes => {
            let text = match value {
                Value::Null => Cow::Borrowed(""),
                Value::String(text) => Cow::Borrowed(text.as_str()),
                _ => return Err(wrong()),
            };
            let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| wrong())?;
            write_bytes_field(out, number, &bytes);
        }
        Shape::Bool => {
            write_varint_field(out, number, u64::from(value.as_bool().ok_or_else(wrong)?));
        }
        Shape::Int32 => {
            let whole = value.as_i64().and_then(|whole| i32::try_from(whole).ok());
            write_varint_field(out, number, i64::from(whole.ok_or_else(wrong)?).cast_unsigned());
        }
        Shape::Int64 => {
            write_varint_field(out, number, value.as_i64().ok_or_else(wrong)?.cast_unsigned())
        }
        Shape::Double => write_double_field(out, number, value.as_f64().ok_or_else(wrong)?),
        Shape::Message(index) => {
            write_nested(out, number, |out| run(out, value, table::message(index)))?;
        }
    }
    Ok(())
}

/// A field that the object does not have: Go still writes what is no pointer.
fn absent(out: &mut Vec<u8>, field: &Field) -> Result<(), DecodeError> {
    let number = field.number;
    match (field.shape, field.presence) {
        (_, Presence::Pointer) | (Shape::Bytes, _) => Ok(()),
        (Shape::Message(index), Presence::Value | Presence::OmitZero) => {
            let message = table::message(index);
            let value = if message.special.is_some() { Value::Null } else { special::empty() };
            write_nested(out, number, |out| match (message.special, &value) {
                (Some(table::Special::SchemaOrBool), _) => {
                    write_varint_field(out, 1, 0);
                    Ok(())
                }
                (_, value) => run(out, value, message),
            })
        }
        (Shape::Message(_), _) => Ok(()),
        (Shape::String, _) => {
            write_bytes_field(out, number, b"");
            Ok(())
        }
        (Shape::Double, _) => {
            write_double_field(out, number, 0.0);
            Ok(())
        }
        (Shape::Bool | Shape::Int32 | Shape::Int64, _) => {
            write_varint_field(out, number, 0);
            Ok(())
        }
    }
}
