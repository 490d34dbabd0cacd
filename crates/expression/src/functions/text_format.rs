//! `string.format(list)`: text with clauses such as `%s` and `%.3f`.

use super::{Outcome, conversions::double_text, no_overload, time};
use crate::evaluate::shown;
use crate::value::Value;

/// Most digits that a clause may ask for.
const PRECISION_MAX: usize = 1000;

pub(super) fn format(arguments: &[Value]) -> Outcome {
    let [Value::String(pattern), Value::List(values)] = arguments else { return no_overload() };
    let mut out = String::new();
    let mut values = values.items.iter();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut precision = None;
        if chars.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let digits = digits.parse().ok().filter(|digits| *digits <= PRECISION_MAX);
            precision =
                Some(digits.ok_or("error while checking for precision: invalid precision")?);
        }
        let Some(clause) = chars.next() else {
            return Err("unexpected end of string".to_owned());
        };
        let Some(value) = values.next() else {
            let count = arguments[1].size().unwrap_or(0);
            return Err(format!("index {count} out of range"));
        };
        let text = write(clause, precision, value)
            .map_err(|error| format!("error during formatting: {error}"))?;
        out.push_str(&text);
    }
    Ok(Value::string(out))
}

fn write(clause: char, precision: Option<usize>, value: &Value) -> Result<String, String> {
    let ty = || value.type_of().runtime_name();
    match clause {
        's' => text(value),
        'd' => match value {
            Value::Int(_) | Value::Uint(_) => Ok(shown(value)),
            Value::Double(number) if !number.is_finite() => Ok(special(*number)),
            _ => Err(format!("decimal clause can only be used on integers, was given {}", ty())),
        },
        'f' => match number(value) {
            Some(number) if number.is_finite() => {
                Ok(format!("{number:.*}", precision.unwrap_or(6)))
            }
            Some(number) => Ok(special(number)),
            None => {
                Err(format!("fixed-point clause can only be used on doubles, was given {}", ty()))
            }
        },
        'e' => match number(value) {
            Some(number) if number.is_finite() => Ok(scientific(number, precision.unwrap_or(6))),
            Some(number) => Ok(special(number)),
            None => {
                Err(format!("scientific clause can only be used on doubles, was given {}", ty()))
            }
        },
        'b' => match value {
            Value::Int(number) => Ok(signed(*number, |n| format!("{n:b}"))),
            Value::Uint(number) => Ok(format!("{number:b}")),
            Value::Bool(value) => Ok(u8::from(*value).to_string()),
            _ => Err(format!(
                "only integers and bools can be formatted as binary, was given {}",
                ty()
            )),
        },
        'o' => match value {
            Value::Int(number) => Ok(signed(*number, |n| format!("{n:o}"))),
            Value::Uint(number) => Ok(format!("{number:o}")),
            _ => Err(format!("octal clause can only be used on integers, was given {}", ty())),
        },
        'x' => hex(value, false),
        'X' => hex(value, true),
        other => Err(format!("unrecognized formatting clause \"{other}\"")),
    }
}

fn signed(number: i64, write: fn(u64) -> String) -> String {
    let magnitude = write(number.unsigned_abs());
    if number < 0 { format!("-{magnitude}") } else { magnitude }
}

fn hex(value: &Value, upper: bool) -> Result<String, String> {
    let bytes = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = match value {
        Value::Int(number) => signed(*number, |n| format!("{n:x}")),
        Value::Uint(number) => format!("{number:x}"),
        Value::String(text) => bytes(text.as_bytes()),
        Value::Bytes(raw) => bytes(raw),
        other => {
            return Err(format!(
                "only integers, byte buffers, and strings can be formatted as hex, was given {}",
                other.type_of().runtime_name()
            ));
        }
    };
    Ok(if upper { text.to_uppercase() } else { text })
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Double(number) => Some(*number),
        Value::Int(number) => Some(*number as f64),
        Value::Uint(number) => Some(*number as f64),
        _ => None,
    }
}

fn special(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number > 0.0 {
        "Infinity".to_owned()
    } else {
        "-Infinity".to_owned()
    }
}

/// A number with its exponent as English prints it: `3.140000 × 10⁰⁰`.
fn scientific(number: f64, precision: usize) -> String {
    const RAISED: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let text = format!("{number:.precision$e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ("⁻", exponent),
        None => ("", exponent),
    };
    let raised: String = format!("{exponent:0>2}")
        .chars()
        .filter_map(|c| RAISED.get(c.to_digit(10)? as usize))
        .collect();
    format!("{digits} × 10{sign}{raised}")
}

/// A value of any type as `%s` writes it.
fn text(value: &Value) -> Result<String, String> {
    Ok(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_) => shown(value),
        Value::Double(number) if number.is_finite() => double_text(*number),
        Value::Double(number) => special(*number),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(span) => time::format_duration(*span),
        Value::Type(ty) => ty.runtime_name(),
        Value::List(list) => {
            let items: Vec<String> = list.items.iter().map(nested).collect::<Result<_, _>>()?;
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entries = map
                .entries
                .iter()
                .map(|(key, value)| Ok(format!("{}: {}", nested(key)?, nested(value)?)));
            format!("{{{}}}", entries.collect::<Result<Vec<String>, String>>()?.join(", "))
        }
        other => {
            return Err(format!(
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, \
                 lists, types, durations, and timestamps, was given {}",
                other.type_of().runtime_name()
            ));
        }
    })
}

/// A value inside a list or map: strings and the like have quotes.
fn nested(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(format!("\"{text}\"")),
        Value::Bytes(bytes) => Ok(format!("b\"{}\"", String::from_utf8_lossy(bytes))),
        Value::Timestamp(time) => Ok(format!("timestamp(\"{time}\")")),
        Value::Duration(span) => Ok(format!("duration(\"{}\")", time::format_duration(*span))),
        other => text(other),
    }
}
