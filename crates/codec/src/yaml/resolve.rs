//! Scalars of YAML 1.1 as go-yaml v2 resolves them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Number;

/// What a scalar turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// Above the range of `i64`.
    Uint(u64),
    Float(f64),
    Text(String),
}

impl Scalar {
    fn tag(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Uint(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "str",
        }
    }

    /// The JSON number, for the numeric ones that JSON can hold.
    pub(super) fn number(&self) -> Option<Number> {
        match self {
            Self::Int(whole) => Some((*whole).into()),
            Self::Uint(whole) => Some((*whole).into()),
            Self::Float(float) => Number::from_f64(*float),
            Self::Null | Self::Bool(_) | Self::Text(_) => None,
        }
    }
}

/// Resolves a scalar. `plain` for one without quotes; `tag` is the part after `!!`, if it has a tag of
/// YAML's own.
pub(super) fn resolve(text: &str, plain: bool, tag: Option<&str>) -> Result<Scalar, String> {
    match tag {
        Some("str") => return Ok(Scalar::Text(text.to_owned())),
        Some("binary") => return binary(text),
        None | Some("bool" | "int" | "float" | "null" | "timestamp") => {}
        Some(_) => return Ok(Scalar::Text(text.to_owned())),
    }
    if tag.is_none() && !plain {
        return Ok(Scalar::Text(text.to_owned()));
    }
    let scalar = implicit(text);
    match (tag, scalar) {
        (None | Some("timestamp"), scalar) => Ok(scalar),
        (Some("float"), Scalar::Int(whole)) => Ok(Scalar::Float(whole as f64)),
        (Some(tag), scalar) if tag == scalar.tag() => Ok(scalar),
        (Some(tag), scalar) => {
            Err(format!("cannot decode !!{} `{text}` as a !!{tag}", scalar.tag()))
        }
    }
}

fn binary(text: &str) -> Result<Scalar, String> {
    let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = STANDARD
        .decode(compact)
        .map_err(|_| "!!binary value contains invalid base64 data".to_owned())?;
    Ok(Scalar::Text(String::from_utf8_lossy(&bytes).into_owned()))
}

fn implicit(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Scalar::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'+' | b'-' | b'.' | b'0'..=b'9') => number(text),
        _ => None,
    }
    .unwrap_or_else(|| Scalar::Text(text.to_owned()))
}

fn number(text: &str) -> Option<Scalar> {
    let plain = if text.starts_with('.') { text.to_owned() } else { text.replace('_', "") };
    if let Some(whole) = integer(&plain) {
        return Some(whole);
    }
    if !is_float(&plain) {
        return None;
    }
    plain.parse::<f64>().ok().filter(|float| float.is_finite()).map(Scalar::Float)
}

/// Go's `ParseInt` with base 0: a sign, then `0x`, `0o`, `0b`, `0` (octal) or decimal digits.
fn integer(text: &str) -> Option<Scalar> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0o") => (&lower[2..], 8),
        Some("0b") => (&lower[2..], 2),
        Some(_) if lower.starts_with('0') => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if !digits.bytes().next()?.is_ascii_alphanumeric() {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0_i64.checked_sub_unsigned(magnitude).map(Scalar::Int);
    }
    Some(i64::try_from(magnitude).map_or(Scalar::Uint(magnitude), Scalar::Int))
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let whole = digits(rest);
    let rest = &rest[whole..];
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let count = digits(fraction);
            if whole + count == 0 {
                return false;
            }
            &fraction[count..]
        }
        None if whole == 0 => return false,
        None => rest,
    };
    let Some(exponent) = rest.strip_prefix(['e', 'E']) else { return rest.is_empty() };
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    !exponent.is_empty() && digits(exponent) == exponent.len()
}
