//! CBOR bodies (RFC 8949): the same trees as JSON, in fewer bytes.
//!
//! Strings are written as byte strings and read from either kind, as upstream does; an item says of itself that
//! it is CBOR. A watch is a sequence of items without anything between them (RFC 8742).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use minicbor::Encoder;
use minicbor::data::Type;
use minicbor::decode::Decoder;
use schema::Schema;
use serde_json::{Map, Number, Value};

use crate::json;
use crate::limits::{BODY_BYTES_MAX, CBOR_DEPTH_MAX, CBOR_NODES_MAX};
use crate::result::{DecodeError, Decoded, Mode};

/// "What follows is CBOR": tag 55799.
const SELF_DESCRIBED: u64 = 55_799;
/// That tag as it is written.
const SELF_DESCRIBED_HEAD: [u8; 3] = [0xd9, 0xd9, 0xf7];
/// Bytes that stand for their text in base64url, base64 and base16.
const LATER_BASE64_URL: u64 = 21;
const LATER_BASE64: u64 = 22;
const LATER_BASE16: u64 = 23;
/// Seconds since 1970.
const EPOCH: u64 = 1;
/// Whole numbers of any size.
const BIG: [u64; 2] = [2, 3];

/// Decodes an object against its schema, as [`json::decode`] does.
///
/// # Errors
/// [`DecodeError::Cbor`], and those of [`json::decode`].
pub fn decode(bytes: &[u8], schema: &Schema, mode: Mode) -> Result<Decoded, DecodeError> {
    json::decode_value(&decode_any(bytes)?, schema, mode)
}

/// Decodes any value, without a schema.
///
/// # Errors
/// [`DecodeError::Cbor`] and [`DecodeError::TooLarge`].
pub fn decode_any(bytes: &[u8]) -> Result<Value, DecodeError> {
    if bytes.len() > BODY_BYTES_MAX {
        return Err(DecodeError::TooLarge);
    }
    let mut reader = Reader { items: Decoder::new(bytes), nodes: 0 };
    // What every writer puts ahead is no level of nesting and no value.
    if bytes.starts_with(&SELF_DESCRIBED_HEAD) {
        reader.items.set_position(SELF_DESCRIBED_HEAD.len());
    }
    let value = reader.value(0)?;
    let end = reader.items.position();
    if end == bytes.len() {
        return Ok(value);
    }
    let rest = bytes.len() - end;
    fault(format!("cbor: {rest} bytes of extraneous data starting at index {end}"))
}

/// Encodes a value as one item.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::with_capacity(512));
    encoder
        .tag(minicbor::data::Tag::new(SELF_DESCRIBED))
        .and_then(|encoder| write(encoder, value))
        .expect("a JSON tree has only values that CBOR has and a Vec takes all bytes");
    encoder.into_writer()
}

fn fault<T>(text: impl Into<String>) -> Result<T, DecodeError> {
    Err(DecodeError::Cbor(text.into()))
}

impl From<minicbor::decode::Error> for DecodeError {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::Cbor(format!("cbor: {error}"))
    }
}

struct Reader<'a> {
    items: Decoder<'a>,
    nodes: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, DecodeError> {
        self.nodes += 1;
        if depth > CBOR_DEPTH_MAX {
            return fault(format!("cbor: exceeded max nested level {CBOR_DEPTH_MAX}"));
        }
        if self.nodes > CBOR_NODES_MAX {
            return Err(DecodeError::TooLarge);
        }
        let items = &mut self.items;
        Ok(match items.datatype()? {
            Type::Null => {
                items.null()?;
                Value::Null
            }
            Type::Bool => Value::Bool(items.bool()?),
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => {
                let number = items.u64()?;
                match i64::try_from(number) {
                    Ok(number) => Value::from(number),
                    Err(_) => {
                        return fault(format!(
                            "cbor: cannot unmarshal positive integer into Go value of type int64 ({number} overflows Go's int64)"
                        ));
                    }
                }
            }
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => Value::from(items.i64()?),
            Type::F16 => float(f64::from(items.f16()?))?,
            Type::F32 => float(f64::from(items.f32()?))?,
            Type::F64 => float(items.f64()?)?,
            Type::Bytes | Type::BytesIndef => text(&self.bytes()?),
            Type::String | Type::StringIndef => Value::String(self.string()?),
            Type::Array | Type::ArrayIndef => self.array(depth)?,
            Type::Map | Type::MapIndef => self.map(depth)?,
            Type::Tag => self.tagged(depth)?,
            other => return fault(format!("cbor: unexpected item of type {other}")),
        })
    }

    fn bytes(&mut self) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        for part in self.items.bytes_iter()? {
            out.extend_from_slice(part?);
        }
        Ok(out)
    }

    fn string(&mut self) -> Result<String, DecodeError> {
        let mut out = String::new();
        for part in self.items.str_iter()? {
            out.push_str(part?);
        }
        Ok(out)
    }

    /// Whether another item of a list or map follows; `left` counts down where the length is known.
    fn has_next(&mut self, left: &mut Option<u64>) -> Result<bool, DecodeError> {
        match left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.items.datatype()? == Type::Break => {
                self.items.skip()?;
                Ok(false)
            }
            None => Ok(true),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let mut left = self.items.array()?;
        let mut out = Vec::new();
        while self.has_next(&mut left)? {
            out.push(self.value(depth + 1)?);
        }
        Ok(Value::Array(out))
    }

    fn map(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let mut left = self.items.map()?;
        let mut out = Map::new();
        while self.has_next(&mut left)? {
            let key = match self.items.datatype()? {
                Type::Bytes | Type::BytesIndef => {
                    String::from_utf8_lossy(&self.bytes()?).into_owned()
                }
                Type::String | Type::StringIndef => self.string()?,
                other => return fault(format!("cbor: a key of type {other} is no string")),
            };
            if out.contains_key(&key) {
                return fault(format!("cbor: found duplicate map key {key:?}"));
            }
            let value = self.value(depth + 1)?;
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }

    fn tagged(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let tag = self.items.tag()?.as_u64();
        let is_bytes = matches!(self.items.datatype()?, Type::Bytes | Type::BytesIndef);
        match tag {
            LATER_BASE64 if is_bytes => Ok(STANDARD.encode(self.bytes()?).into()),
            LATER_BASE64_URL if is_bytes => Ok(URL_SAFE.encode(self.bytes()?).into()),
            LATER_BASE16 if is_bytes => {
                let digits = self.bytes()?;
                Ok(digits.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
            }
            EPOCH => {
                let value = self.value(depth + 1)?;
                fault(format!("cbor: times in seconds since 1970 are not read: {value}"))
            }
            big if BIG.contains(&big) => fault("cbor: bignum is forbidden"),
            _ => self.value(depth + 1),
        }
    }
}

/// Broken text is mended as in JSON.
fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

fn float(number: f64) -> Result<Value, DecodeError> {
    match Number::from_f64(number) {
        Some(number) => Ok(Value::Number(number)),
        None => fault(format!("cbor: floating-point {number} is forbidden")),
    }
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn write(encoder: &mut Encoder<Vec<u8>>, value: &Value) -> Written {
    match value {
        Value::Null => encoder.null()?,
        Value::Bool(flag) => encoder.bool(*flag)?,
        Value::Number(number) => return write_number(encoder, number),
        Value::String(text) => encoder.bytes(text.as_bytes())?,
        Value::Array(items) => {
            encoder.array(items.len() as u64)?;
            return items.iter().try_for_each(|item| write(encoder, item));
        }
        Value::Object(map) => {
            encoder.map(map.len() as u64)?;
            return map.iter().try_for_each(|(key, value)| {
                encoder.bytes(key.as_bytes())?;
                write(encoder, value)
            });
        }
    };
    Ok(())
}

/// Floats in the shorter form that holds the same number.
fn write_number(encoder: &mut Encoder<Vec<u8>>, number: &Number) -> Written {
    if let Some(whole) = number.as_i64() {
        encoder.i64(whole)?;
    } else if let Some(whole) = number.as_u64() {
        encoder.u64(whole)?;
    } else {
        let number = number.as_f64().unwrap_or_default();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whether it is lossless is the question"
        )]
        let short = number as f32;
        if f64::from(short) == number {
            encoder.f32(short)?
        } else {
            encoder.f64(number)?
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests;
