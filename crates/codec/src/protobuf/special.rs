//! Messages whose JSON form is not an object of their fields: times, quantities, raw JSON and the like.

use serde_json::{Map, Value};

use super::{
    decode::{self, Decoder},
    encode, envelope,
    table::{self, Message, Shape, Special},
    wire::{Reader, Wire, broken, write_bytes_field, write_nested, write_varint_field},
};
use crate::{
    duration, json,
    result::DecodeError,
    time::{self, Moment, Precision},
};

/// The value of an empty message in Go's JSON; null where Go writes null or nothing.
pub(crate) fn zero(special: Special) -> Value {
    match special {
        Special::Quantity => Value::String("0".to_owned()),
        Special::IntOrString => Value::from(0),
        Special::Duration => Value::String("0s".to_owned()),
        Special::SchemaOrBool => Value::Bool(false),
        _ => Value::Null,
    }
}

/// The numbers and byte fields of a small message.
#[derive(Default)]
struct Parts<'a> {
    varints: [Option<u64>; 4],
    bytes: [Option<&'a [u8]>; 4],
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut parts = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.next()? {
            let slot = number as usize;
            match wire {
                Wire::Varint(varint) if slot < 4 => parts.varints[slot] = Some(varint),
                Wire::Bytes(bytes) if slot < 4 => parts.bytes[slot] = Some(bytes),
                _ => {}
            }
        }
        Ok(parts)
    }

    fn signed(&self, number: usize) -> i64 {
        self.varints[number].unwrap_or_default() as i64
    }

    fn text(&self, number: usize) -> String {
        self.bytes[number].map(decode::text).unwrap_or_default()
    }
}

pub(super) fn read(
    decoder: &mut Decoder,
    bytes: &[u8],
    message: &'static Message,
    special: Special,
) -> Result<Value, DecodeError> {
    let parts = Parts::read(bytes)?;
    Ok(match special {
        Special::Time | Special::MicroTime if bytes.is_empty() => Value::Null,
        Special::Time => moment(&parts, Precision::Seconds)?,
        Special::MicroTime => moment(&parts, Precision::Micros)?,
        Special::Quantity => match parts.bytes[1] {
            None | Some([]) => zero(Special::Quantity),
            Some(text) => quantity(&decode::text(text))?,
        },
        Special::IntOrString if parts.signed(1) == 0 => {
            Value::from(decode::low_half(parts.signed(2).cast_unsigned()))
        }
        Special::IntOrString => Value::String(parts.text(3)),
        Special::Duration => Value::String(duration::format(parts.signed(1))),
        Special::Json => raw_json(parts.bytes[1].unwrap_or_default())?,
        Special::RawExtension => raw_extension(decoder, parts.bytes[1].unwrap_or_default())?,
        Special::Strings => strings(bytes, 1)?,
        Special::SchemaOrArray => match parts.bytes[1] {
            Some(one) => decoder.message(one, schema_props(message)?)?,
            None => schemas(decoder, bytes, message)?,
        },
        Special::SchemaOrBool => match parts.bytes[2] {
            Some(schema) => decoder.message(schema, schema_props(message)?)?,
            None => Value::Bool(parts.signed(1) != 0),
        },
        Special::SchemaOrStrings => match parts.bytes[1] {
            Some(schema) => decoder.message(schema, schema_props(message)?)?,
            None => strings(bytes, 2)?,
        },
    })
}

fn moment(parts: &Parts<'_>, precision: Precision) -> Result<Value, DecodeError> {
    // Years 0 to 9999, as RFC 3339 has them.
    const SECONDS: std::ops::Range<i64> = -62_167_219_200..253_402_300_800;
    let seconds = parts.signed(1);
    let nanos = u32::try_from(parts.signed(2)).ok().filter(|nanos| *nanos < 1_000_000_000);
    match nanos {
        Some(nanos) if SECONDS.contains(&seconds) => {
            Ok(Value::String(time::format(Moment { seconds, nanos }, precision)))
        }
        _ => Err(broken("time out of range")),
    }
}

fn quantity(text: &str) -> Result<Value, DecodeError> {
    match text.parse::<api::quantity::Quantity>() {
        Ok(quantity) => Ok(Value::String(quantity.to_string())),
        Err(error) => Err(DecodeError::Protobuf(error.to_string())),
    }
}

fn raw_json(raw: &[u8]) -> Result<Value, DecodeError> {
    if raw.is_empty() { Ok(Value::Null) } else { json::decode_any(raw) }
}

/// An embedded object: JSON text, or an object in its own envelope. The decoder bounds the depth.
fn raw_extension(decoder: &mut Decoder, raw: &[u8]) -> Result<Value, DecodeError> {
    if !envelope::is_protobuf(raw) {
        return raw_json(raw);
    }
    let opened = envelope::open(raw)?;
    let mut value = decoder.message(opened.raw, table::for_kind(&opened.meta)?)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), opened.meta.api_version.into());
        map.insert("kind".to_owned(), opened.meta.kind.into());
    }
    Ok(value)
}

fn strings(bytes: &[u8], field: u32) -> Result<Value, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut items = Vec::new();
    while let Some((number, wire)) = reader.next()? {
        if let (true, Wire::Bytes(text)) = (number == field, wire) {
            items.push(Value::String(decode::text(text)));
        }
    }
    Ok(Value::Array(items))
}

fn schemas(
    decoder: &mut Decoder,
    bytes: &[u8],
    message: &'static Message,
) -> Result<Value, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut items = Vec::new();
    while let Some((number, wire)) = reader.next()? {
        if let (2, Wire::Bytes(schema)) = (number, wire) {
            items.push(decoder.message(schema, schema_props(message)?)?);
        }
    }
    Ok(Value::Array(items))
}

/// The message of a whole schema, beside which the `Or` messages stand.
fn schema_props(message: &'static Message) -> Result<&'static Message, DecodeError> {
    let shapes = message.fields.iter().map(|field| field.shape);
    let mut messages = shapes.filter_map(|shape| match shape {
        Shape::Message(index) => Some(table::message(index)),
        _ => None,
    });
    messages.next().ok_or_else(|| broken("a message without a schema"))
}

pub(super) fn write(
    out: &mut Vec<u8>,
    value: &Value,
    message: &'static Message,
    special: Special,
) -> Result<(), DecodeError> {
    let wrong = || encode::wrong_value(message.name, value);
    match (special, value) {
        (Special::Time | Special::MicroTime, Value::Null) => {}
        (Special::Time, Value::String(text)) => {
            let moment = time::parse(text, Precision::Seconds).map_err(DecodeError::Protobuf)?;
            write_varint_field(out, 1, moment.seconds.cast_unsigned());
            write_varint_field(out, 2, 0);
        }
        (Special::MicroTime, Value::String(text)) => {
            let moment = time::parse(text, Precision::Micros).map_err(DecodeError::Protobuf)?;
            write_varint_field(out, 1, moment.seconds.cast_unsigned());
            write_varint_field(out, 2, u64::from(moment.nanos));
        }
        (Special::Quantity, Value::Null) => write_bytes_field(out, 1, b"0"),
        (Special::Quantity, Value::String(text)) => write_bytes_field(out, 1, text.as_bytes()),
        (Special::Quantity, Value::Number(number)) => {
            write_bytes_field(out, 1, number.to_string().as_bytes());
        }
        (Special::IntOrString, Value::Null) => int_or_string(out, 0, 0, ""),
        (Special::IntOrString, Value::String(text)) => int_or_string(out, 1, 0, text),
        (Special::IntOrString, Value::Number(number)) => {
            int_or_string(out, 0, number.as_i64().ok_or_else(wrong)?, "");
        }
        (Special::Duration, Value::Null) => write_varint_field(out, 1, 0),
        (Special::Duration, Value::String(text)) => {
            write_varint_field(out, 1, duration::parse(text).ok_or_else(wrong)?.cast_unsigned());
        }
        (Special::Json | Special::RawExtension, Value::Null) => {}
        (Special::Json | Special::RawExtension, value) => {
            write_bytes_field(out, 1, value.to_string().as_bytes());
        }
        (Special::Strings, Value::Null) => {}
        (Special::Strings, Value::Array(items)) => string_items(out, 1, items, wrong)?,
        (Special::SchemaOrArray | Special::SchemaOrStrings, Value::Object(_)) => {
            write_nested(out, 1, |out| encode::run(out, value, schema_props(message)?))?;
        }
        (Special::SchemaOrArray, Value::Array(items)) => {
            for item in items {
                write_nested(out, 2, |out| encode::run(out, item, schema_props(message)?))?;
            }
        }
        (Special::SchemaOrStrings, Value::Array(items)) => string_items(out, 2, items, wrong)?,
        (Special::SchemaOrBool, Value::Bool(on)) => write_varint_field(out, 1, u64::from(*on)),
        (Special::SchemaOrBool, Value::Object(_)) => {
            write_varint_field(out, 1, 1);
            write_nested(out, 2, |out| encode::run(out, value, schema_props(message)?))?;
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

fn int_or_string(out: &mut Vec<u8>, kind: u64, whole: i64, text: &str) {
    write_varint_field(out, 1, kind);
    write_varint_field(out, 2, whole.cast_unsigned());
    write_bytes_field(out, 3, text.as_bytes());
}

fn string_items(
    out: &mut Vec<u8>,
    number: u32,
    items: &[Value],
    wrong: impl Fn() -> DecodeError,
) -> Result<(), DecodeError> {
    for item in items {
        write_bytes_field(out, number, item.as_str().ok_or_else(&wrong)?.as_bytes());
    }
    Ok(())
}

/// An empty object, for messages that are always on the wire.
pub(super) fn empty() -> Value {
    Value::Object(Map::new())
}
