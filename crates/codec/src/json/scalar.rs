//! Scalars: what a literal becomes in a field of a given type.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use schema::{Kind, Schema};
use serde_json::{Number, Value};

use super::{go_type, scanner::Literal};
use crate::time::{Precision, canonical};

/// Floats below this are whole exactly when they look whole.
const WHOLE_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

/// Why a literal does not fit.
pub(super) enum Refused {
    /// Go's type error: the value as Go calls it, and the type.
    Wrong { value: String, target: String },
    /// A text of its own.
    Message(String),
}

type Outcome = Result<Option<Value>, Refused>;

/// A literal without a type: integers stay integers, other numbers become floats.
pub(super) fn free(literal: Literal<'_>) -> Outcome {
    Ok(Some(match literal {
        Literal::Null => Value::Null,
        Literal::Bool(on) => Value::Bool(on),
        Literal::String(text) => Value::String(text.into_owned()),
        Literal::Number(digits) => {
            Value::Number(number(digits).ok_or_else(|| wrong_number(digits, "float64"))?)
        }
    }))
}

/// A literal in a field of a built-in kind. Nothing means unset.
pub(super) fn typed(literal: Literal<'_>, schema: &Schema) -> Outcome {
    if literal == Literal::Null {
        return Ok(None);
    }
    match (schema.kind(), literal) {
        (Kind::String, Literal::String(text)) => string(text, schema).map(Some),
        (Kind::Boolean, Literal::Bool(on)) => Ok(Some(Value::Bool(on))),
        (Kind::Integer, Literal::Number(digits)) => integer(digits, schema).map(Some),
        (Kind::Number, Literal::Number(digits)) => match number(digits) {
            Some(number) => Ok(Some(Value::Number(number))),
            None => Err(wrong_number(digits, "float64")),
        },
        (Kind::IntOrString, literal) => int_or_string(literal),
        (Kind::Quantity, literal) => quantity(&literal),
        (Kind::Any, literal) => free(literal),
        (Kind::String, other) if precision(schema).is_some() => {
            Err(Refused::Wrong { value: other.go_value().to_owned(), target: "string".to_owned() })
        }
        (_, other) => Err(Refused::Wrong {
            value: other.go_value().to_owned(),
            target: go_type::name(schema),
        }),
    }
}

fn wrong_number(digits: &str, target: &str) -> Refused {
    Refused::Wrong { value: format!("number {digits}"), target: target.to_owned() }
}

/// The number as Go's `interface{}` holds and prints it.
fn number(digits: &str) -> Option<Number> {
    if !digits.contains('.')
        && let Ok(whole) = digits.parse::<i64>()
    {
        return Some(whole.into());
    }
    let float = digits.parse::<f64>().ok().filter(|float| float.is_finite())?;
    if float.fract() == 0.0 && float.abs() < WHOLE_FLOAT_MAX {
        return format!("{float:.0}").parse::<i64>().ok().map(Number::from);
    }
    Number::from_f64(float)
}

fn integer(digits: &str, schema: &Schema) -> Result<Value, Refused> {
    let target = schema.format().unwrap_or("int64");
    let fits = |whole: &i64| target != "int32" || i32::try_from(*whole).is_ok();
    match digits.parse::<i64>().ok().filter(fits) {
        Some(whole) => Ok(whole.into()),
        None => Err(wrong_number(digits, target)),
    }
}

/// Which time type a string node is, if any.
fn precision(schema: &Schema) -> Option<Precision> {
    let name = schema.definition_name()?;
    match name.rsplit('.').next() {
        Some("Time") => Some(Precision::Seconds),
        Some("MicroTime") => Some(Precision::Micros),
        _ => None,
    }
}

fn string(text: Cow<'_, str>, schema: &Schema) -> Result<Value, Refused> {
    if let Some(precision) = precision(schema) {
        return canonical(&text, precision).map(Value::String).map_err(Refused::Message);
    }
    if schema.format() == Some("byte") {
        return bytes(&text).map(Value::String).map_err(Refused::Message);
    }
    Ok(Value::String(text.into_owned()))
}

/// Base64 in the standard alphabet, with line breaks allowed on input.
fn bytes(text: &str) -> Result<String, String> {
    let is_break = |byte: u8| matches!(byte, b'\r' | b'\n');
    let compact: Cow<'_, str> = if text.bytes().any(is_break) {
        Cow::Owned(text.replace(['\r', '\n'], ""))
    } else {
        Cow::Borrowed(text)
    };
    match STANDARD.decode(compact.as_bytes()) {
        Ok(_) => Ok(compact.into_owned()),
        Err(error) => {
            let offset = match error {
                base64::DecodeError::InvalidByte(offset, _)
                | base64::DecodeError::InvalidLastSymbol(offset, _) => offset,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                    compact.len()
                }
            };
            Err(format!("illegal base64 data at input byte {offset}"))
        }
    }
}

fn int_or_string(literal: Literal<'_>) -> Outcome {
    match literal {
        Literal::String(text) => Ok(Some(Value::String(text.into_owned()))),
        Literal::Number(digits) => match digits.parse::<i32>() {
            Ok(whole) => Ok(Some(whole.into())),
            Err(_) => Err(wrong_number(digits, "int32")),
        },
        other => {
            Err(Refused::Wrong { value: other.go_value().to_owned(), target: "int32".to_owned() })
        }
    }
}

/// A quantity in its canonical form.
fn quantity(literal: &Literal<'_>) -> Outcome {
    let text = match literal {
        Literal::String(text) => text.as_ref(),
        Literal::Number(digits) => digits,
        Literal::Bool(true) => "true",
        _ => "false",
    };
    match text.parse::<api::quantity::Quantity>() {
        Ok(quantity) => Ok(Some(Value::String(quantity.to_string()))),
        Err(error) => Err(Refused::Message(error.to_string())),
    }
}
