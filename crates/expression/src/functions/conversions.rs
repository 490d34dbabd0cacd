//! Conversions between types, named after what they make.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::{Native, Outcome, no_overload, time};
use crate::value::Value;

/// Beyond these a double is no 64-bit number.
const INT_BOUND: f64 = 9_223_372_036_854_775_808.0;
const UINT_BOUND: f64 = 18_446_744_073_709_551_616.0;

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "dyn" => |arguments| one(arguments).cloned(),
        "type" => |arguments| one(arguments).map(|value| Value::Type(value.type_of())),
        "bool" => to_bool,
        "int" => to_int,
        "uint" => to_uint,
        "double" => to_double,
        "string" => to_string,
        "bytes" => to_bytes,
        "base64.encode" => encode,
        "base64.decode" => decode,
        _ => return None,
    })
}

fn one(arguments: &[Value]) -> Result<&Value, String> {
    match arguments {
        [value] => Ok(value),
        _ => Err("no such overload".to_owned()),
    }
}

fn unfit(text: &str, ty: &str) -> Outcome {
    Err(format!("type conversion error from '{text}' to '{ty}'"))
}

fn to_bool(arguments: &[Value]) -> Outcome {
    match one(arguments)? {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::String(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            other => unfit(other, "bool"),
        },
        _ => no_overload(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the bound is checked, and the fraction is to go"
)]
fn to_int(arguments: &[Value]) -> Outcome {
    let overflow = || Err("integer overflow".to_owned());
    match one(arguments)? {
        Value::Int(number) => Ok(Value::Int(*number)),
        Value::Uint(number) => i64::try_from(*number).map(Value::Int).or_else(|_| overflow()),
        Value::Double(number) if number.abs() < INT_BOUND => Ok(Value::Int(*number as i64)),
        Value::Double(_) => overflow(),
        Value::String(text) => text.parse().map(Value::Int).or_else(|_| unfit(text, "int")),
        Value::Timestamp(time) => Ok(Value::Int(time.as_second())),
        Value::Duration(span) => Ok(Value::Int(*span)),
        _ => no_overload(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the bounds are checked, and the fraction is to go"
)]
fn to_uint(arguments: &[Value]) -> Outcome {
    let overflow = || Err("unsigned integer overflow".to_owned());
    match one(arguments)? {
        Value::Uint(number) => Ok(Value::Uint(*number)),
        Value::Int(number) => u64::try_from(*number).map(Value::Uint).or_else(|_| overflow()),
        Value::Double(number) if *number >= 0.0 && *number < UINT_BOUND => {
            Ok(Value::Uint(*number as u64))
        }
        Value::Double(_) => overflow(),
        Value::String(text) => text.parse().map(Value::Uint).or_else(|_| unfit(text, "uint")),
        _ => no_overload(),
    }
}

fn to_double(arguments: &[Value]) -> Outcome {
    match one(arguments)? {
        Value::Double(number) => Ok(Value::Double(*number)),
        Value::Int(number) => Ok(Value::Double(*number as f64)),
        Value::Uint(number) => Ok(Value::Double(*number as f64)),
        Value::String(text) => text.parse().map(Value::Double).or_else(|_| unfit(text, "double")),
        _ => no_overload(),
    }
}

fn to_string(arguments: &[Value]) -> Outcome {
    let text = match one(arguments)? {
        Value::String(text) => return Ok(Value::String(text.clone())),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => double_text(*number),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => {
                return Err("invalid UTF-8 in bytes, cannot convert to string".to_owned());
            }
        },
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(span) => time::format_duration(*span),
        Value::Url(url) => url.text().to_owned(),
        Value::Ip(address) => address.to_string(),
        Value::Cidr(address, length) => format!("{address}/{length}"),
        _ => return no_overload(),
    };
    Ok(Value::string(text))
}

/// A double as Go's `%g` writes it.
pub(super) fn double_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let exponent = if number == 0.0 { 0.0 } else { number.abs().log10().floor() };
    if (-4.0..21.0).contains(&exponent) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, digits_of) = match exponent.strip_prefix('-') {
                Some(rest) => ('-', rest),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{digits_of:0>2}")
        }
        None => text,
    }
}

fn to_bytes(arguments: &[Value]) -> Outcome {
    match one(arguments)? {
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        Value::String(text) => Ok(Value::Bytes(text.as_bytes().into())),
        _ => no_overload(),
    }
}

fn encode(arguments: &[Value]) -> Outcome {
    match one(arguments)? {
        Value::Bytes(bytes) => Ok(Value::string(STANDARD.encode(bytes))),
        _ => no_overload(),
    }
}

fn decode(arguments: &[Value]) -> Outcome {
    let Value::String(text) = one(arguments)? else { return no_overload() };
    let decoded = STANDARD.decode(&**text).or_else(|_| STANDARD_NO_PAD.decode(&**text));
    match decoded {
        Ok(bytes) => Ok(Value::Bytes(bytes.into())),
        Err(_) => Err("illegal base64 data".to_owned()),
    }
}
