//! Quantities (`500m`, `1Gi`).

use std::cmp::Ordering;

use api::quantity::Quantity;

use super::{Native, Outcome, no_overload};
use crate::value::Value;

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "quantity" => parse,
        "isQuantity" => |arguments| match arguments {
            [Value::String(text)] => Ok(Value::Bool(text.parse::<Quantity>().is_ok())),
            _ => no_overload(),
        },
        "sign" => |arguments| match arguments {
            [Value::Quantity(own)] => Ok(sign(own.cmp(&Quantity::ZERO))),
            _ => no_overload(),
        },
        "asInteger" => |arguments| match arguments {
            [Value::Quantity(own)] => match whole(own) {
                Some(number) => Ok(Value::Int(number)),
                None => Err("cannot convert value to integer".to_owned()),
            },
            _ => no_overload(),
        },
        "isInteger" => |arguments| match arguments {
            [Value::Quantity(own)] => Ok(Value::Bool(whole(own).is_some())),
            _ => no_overload(),
        },
        "asApproximateFloat" => |arguments| match arguments {
            [Value::Quantity(own)] => Ok(Value::Double(float(own))),
            _ => no_overload(),
        },
        "isGreaterThan" => |arguments| compare(arguments, |order| Value::Bool(order.is_gt())),
        "isLessThan" => |arguments| compare(arguments, |order| Value::Bool(order.is_lt())),
        "compareTo" => |arguments| compare(arguments, sign),
        "add" => |arguments| combine(arguments, |a, b| a + b),
        "sub" => |arguments| combine(arguments, |a, b| a - b),
        _ => return None,
    })
}

fn sign(order: Ordering) -> Value {
    Value::Int(order as i64)
}

fn parse(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::String(text)] => {
            text.parse().map(Value::Quantity).map_err(|error| error.to_string())
        }
        _ => no_overload(),
    }
}

/// The amount, if it is whole.
fn whole(quantity: &Quantity) -> Option<i64> {
    let units = quantity.units();
    let exact = units.to_string().parse::<Quantity>().is_ok_and(|whole| whole == *quantity);
    exact.then_some(units)
}

fn float(quantity: &Quantity) -> f64 {
    if let Some(units) = whole(quantity) {
        return units as f64;
    }
    let text = quantity.to_string();
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().unwrap_or(0.0);
    let factor = match &text[end..] {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        exponent => format!("1{exponent}").parse().unwrap_or(1.0),
    };
    number * factor
}

/// Semantic versions and quantities have the same comparisons.
fn compare(arguments: &[Value], wanted: fn(Ordering) -> Value) -> Outcome {
    match arguments {
        [Value::Quantity(own), Value::Quantity(other)] => Ok(wanted(own.cmp(other))),
        [Value::Semver(own), Value::Semver(other)] => Ok(wanted(own.cmp_precedence(other))),
        _ => no_overload(),
    }
}

fn combine(arguments: &[Value], combine: fn(Quantity, Quantity) -> Quantity) -> Outcome {
    match arguments {
        [Value::Quantity(own), Value::Quantity(other)] => {
            Ok(Value::Quantity(combine(*own, *other)))
        }
        [Value::Quantity(own), Value::Int(other)] => match other.to_string().parse() {
            Ok(other) => Ok(Value::Quantity(combine(*own, other))),
            Err(error) => Err(format!("{error}")),
        },
        _ => no_overload(),
    }
}
