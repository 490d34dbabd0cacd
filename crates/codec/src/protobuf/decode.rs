//! From the wire to the JSON tree.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Number, Value};

use super::{
    special,
    table::{self, Field, Message, Presence, Repeat, Shape},
    wire::{Reader, Wire, broken},
};
use crate::{
    limits::{DEPTH_MAX, PROTOBUF_NODES_MAX},
    result::DecodeError,
};

/// Decodes a whole message.
pub(super) fn run(bytes: &[u8], message: &'static Message) -> Result<Value, DecodeError> {
    Decoder { depth: 0, nodes: 0 }.message(bytes, message)
}

/// Bounds the tree that is built.
pub(super) struct Decoder {
    depth: usize,
    nodes: usize,
}

impl Decoder {
    pub(super) fn message(
        &mut self,
        bytes: &[u8],
        message: &'static Message,
    ) -> Result<Value, DecodeError> {
        self.nodes += 1;
        if self.nodes > PROTOBUF_NODES_MAX {
            return Err(DecodeError::TooLarge);
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(broken("exceeded max depth"));
        }
        let value = match message.special {
            Some(special) => special::read(self, bytes, message, special)?,
            None => {
                let mut map = Map::new();
                self.fields(&mut map, bytes, message)?;
                self.fill(&mut map, message);
                Value::Object(map)
            }
        };
        self.depth -= 1;
        Ok(value)
    }

    fn fields(
        &mut self,
        map: &mut Map<String, Value>,
        bytes: &[u8],
        message: &'static Message,
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.next()? {
            let Some(field) = message.field(number) else { continue };
            match (field.repeat, field.shape, wire) {
                (Repeat::One, Shape::Message(index), Wire::Bytes(bytes))
                    if field.presence == Presence::Inline =>
                {
                    self.fields(map, bytes, table::message(index))?;
                }
                (Repeat::One, ..) => self.one(map, field, wire)?,
                (Repeat::List, Shape::Int32 | Shape::Int64 | Shape::Bool, Wire::Bytes(packed)) => {
                    let mut packed = Reader::new(packed);
                    while let Some(varint) = packed.next_varint()? {
                        self.item(map, field, Wire::Varint(varint))?;
                    }
                }
                (Repeat::List, ..) => self.item(map, field, wire)?,
                (Repeat::Map, _, Wire::Bytes(bytes)) => self.entry(map, field, bytes)?,
                (Repeat::Map, ..) => return Err(wrong_type(field)),
            }
        }
        Ok(())
    }

    fn one(
        &mut self,
        map: &mut Map<String, Value>,
        field: &Field,
        wire: Wire<'_>,
    ) -> Result<(), DecodeError> {
        let value = self.value(field, wire)?;
        let keep = match field.presence {
            _ if value.is_null() => false,
            Presence::Plain => matches!(field.shape, Shape::Message(_)) || !is_zero(&value),
            Presence::OmitZero => !field.is_zero(&value),
            _ => true,
        };
        if !keep {
            map.remove(field.name);
            return Ok(());
        }
        match (map.get_mut(field.name), value) {
            // A message may come in parts.
            (Some(Value::Object(whole)), Value::Object(part)) => whole.extend(part),
            (_, value) => {
                map.insert(field.name.to_owned(), value);
            }
        }
        Ok(())
    }

    fn item(
        &mut self,
        map: &mut Map<String, Value>,
        field: &Field,
        wire: Wire<'_>,
    ) -> Result<(), DecodeError> {
        let value = self.value(field, wire)?;
        let list = map.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(items) = list {
            items.push(value);
        }
        Ok(())
    }

    /// An entry of a map: a message of key and value.
    fn entry(
        &mut self,
        map: &mut Map<String, Value>,
        field: &Field,
        bytes: &[u8],
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes);
        let (mut key, mut value) = (String::new(), None);
        while let Some((number, wire)) = reader.next()? {
            match (number, wire) {
                (1, Wire::Bytes(bytes)) => key = text(bytes),
                (2, wire) => value = Some(self.value(field, wire)?),
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            None => self.absent(field),
        };
        let entries = map.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(entries) = entries {
            entries.insert(key, value);
        }
        Ok(())
    }

    fn value(&mut self, field: &Field, wire: Wire<'_>) -> Result<Value, DecodeError> {
        self.nodes += 1;
        if self.nodes > PROTOBUF_NODES_MAX {
            return Err(DecodeError::TooLarge);
        }
        Ok(match (field.shape, wire) {
            (Shape::String, Wire::Bytes(bytes)) => Value::String(text(bytes)),
            (Shape::Bytes, Wire::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
            (Shape::Bool, Wire::Varint(varint)) => Value::Bool(varint != 0),
            (Shape::Int32, Wire::Varint(varint)) => Value::from(low_half(varint)),
            (Shape::Int64, Wire::Varint(varint)) => Value::from(varint.cast_signed()),
            (Shape::Double, Wire::Fixed64(bits)) => double(f64::from_bits(bits))?,
            (Shape::Message(index), Wire::Bytes(bytes)) => {
                self.message(bytes, table::message(index))?
            }
            _ => return Err(wrong_type(field)),
        })
    }

    /// Adds what Go writes to JSON whether or not it was on the wire.
    fn fill(&mut self, map: &mut Map<String, Value>, message: &'static Message) {
        for field in &message.fields {
            match (field.presence, field.shape) {
                (Presence::Inline, Shape::Message(index)) => self.fill(map, table::message(index)),
                (Presence::Always | Presence::Value, _)
                    if field.repeat == Repeat::One && !map.contains_key(field.name) =>
                {
                    let value = self.absent(field);
                    if !value.is_null() {
                        map.insert(field.name.to_owned(), value);
                    }
                }
                _ => {}
            }
        }
    }

    /// The zero value of a field's type, as Go writes it to JSON.
    fn absent(&mut self, field: &Field) -> Value {
        self.nodes += 1;
        match field.shape {
            Shape::String => Value::String(String::new()),
            Shape::Bytes => Value::Null,
            Shape::Bool => Value::Bool(false),
            Shape::Int32 | Shape::Int64 | Shape::Double => Value::from(0),
            Shape::Message(index) => {
                let message = table::message(index);
                match message.special {
                    Some(special) => special::zero(special),
                    None => {
                        let mut map = Map::new();
                        self.fill(&mut map, message);
                        Value::Object(map)
                    }
                }
            }
        }
    }
}

/// The 32-bit number of a field: negative ones come sign-extended, and the upper half says nothing more.
pub(super) fn low_half(varint: u64) -> i32 {
    let [a, b, c, d, ..] = varint.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// Go keeps any bytes in a string; JSON text cannot.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[expect(clippy::cast_possible_truncation, reason = "only whole numbers that fit are cast")]
fn double(value: f64) -> Result<Value, DecodeError> {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        // Whole floats read as integers, as in JSON from Go.
        return Ok(Value::from(value as i64));
    }
    Number::from_f64(value).map(Value::Number).ok_or_else(|| broken("not a finite number"))
}

fn wrong_type(field: &Field) -> DecodeError {
    broken(&format!("wrong wireType for field {}", field.name))
}

impl Field {
    /// Whether a value of this field says nothing. What has a JSON form of its own, such as a foreign object,
    /// says something as soon as it is there, however empty it is.
    pub(crate) fn is_zero(&self, value: &Value) -> bool {
        match self.shape {
            Shape::Message(index) if table::message(index).special.is_some() => value.is_null(),
            _ => is_zero(value),
        }
    }
}

/// Whether a value is what Go calls the zero value of its type.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_zero),
    }
}
