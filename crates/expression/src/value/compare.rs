//! Equality and order of values.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::{List, ListKind, Map, Value};
use crate::limits::VALUE_DEPTH_MAX;

/// Equality of any two values.
pub(super) fn equal(a: &Value, b: &Value, depth: usize) -> bool {
    if depth > VALUE_DEPTH_MAX {
        return false;
    }
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::List(a), Value::List(b)) => lists(a, b, depth),
        (Value::Map(a), Value::Map(b)) => maps(a, b, depth),
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => equal(a, b, depth + 1),
            _ => false,
        },
        (Value::Type(a), Value::Type(b)) => a.runtime_name() == b.runtime_name(),
        (Value::Url(a), Value::Url(b)) => a.text() == b.text(),
        (Value::Ip(a), Value::Ip(b)) => a == b,
        (Value::Cidr(a, n), Value::Cidr(b, m)) => a == b && n == m,
        (Value::Quantity(a), Value::Quantity(b)) => a == b,
        (Value::Semver(a), Value::Semver(b)) => a.cmp_precedence(b) == Ordering::Equal,
        (Value::Format(a), Value::Format(b)) => a == b,
        _ => numbers(a, b) == Some(Ordering::Equal),
    }
}

fn lists(a: &List, b: &List, depth: usize) -> bool {
    if a.items.len() != b.items.len() {
        return false;
    }
    let kind = if a.kind == ListKind::Plain { &b.kind } else { &a.kind };
    match kind {
        ListKind::Plain => a.items.iter().zip(&b.items).all(|(a, b)| equal(a, b, depth + 1)),
        ListKind::Set => {
            let within = |items: &[Value], item: &Value| {
                items.iter().any(|other| equal(item, other, depth + 1))
            };
            a.items.iter().all(|item| within(&b.items, item))
                && b.items.iter().all(|item| within(&a.items, item))
        }
        ListKind::Map(keys) => {
            let by_key: HashMap<String, &Value> =
                b.items.iter().map(|item| (identity(item, keys), item)).collect();
            a.items.iter().all(|item| {
                by_key.get(&identity(item, keys)).is_some_and(|other| equal(item, other, depth + 1))
            })
        }
    }
}

/// The values of the key fields of an item, as a text that only equal keys share.
pub(crate) fn identity(item: &Value, keys: &[String]) -> String {
    let Value::Map(map) = item else { return String::new() };
    let mut identity = String::new();
    for key in keys {
        match map.field(key) {
            Some(Value::String(text)) => identity.push_str(&format!("{text:?},")),
            Some(Value::Int(number)) => identity.push_str(&format!("{number},")),
            Some(Value::Bool(value)) => identity.push_str(&format!("{value},")),
            Some(Value::Double(number)) => identity.push_str(&format!("{number}f,")),
            _ => identity.push(','),
        }
    }
    identity
}

fn maps(a: &Map, b: &Map, depth: usize) -> bool {
    a.entries.len() == b.entries.len()
        && a.entries.iter().zip(&b.entries).all(|((key, value), (other_key, other))| {
            keys(key, other_key) == Ordering::Equal && equal(value, other, depth + 1)
        })
}

/// The order of two values of kinds that have one.
pub(super) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        _ => numbers(a, b),
    }
}

/// The order of two numbers of any types; none if one is not a number, or is NaN.
fn numbers(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), b) => whole(b).and_then(|b| double_and_whole(*a, b)),
        (a, Value::Double(b)) => {
            whole(a).and_then(|a| double_and_whole(*b, a)).map(Ordering::reverse)
        }
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::Uint(number) => Some(i128::from(*number)),
        _ => None,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "in range, the cast keeps the whole part exactly"
)]
fn double_and_whole(double: f64, whole: i128) -> Option<Ordering> {
    /// Beyond every 64-bit number.
    const HUGE: f64 = 1e20;
    if double.is_nan() {
        return None;
    }
    if double.abs() > HUGE {
        return Some(if double > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    let floor = double.floor();
    let order = (floor as i128).cmp(&whole);
    Some(if order == Ordering::Equal && double > floor { Ordering::Greater } else { order })
}

/// A total order of keys: Booleans, numbers, strings, and then the rest.
pub(super) fn keys(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Bool(_) => 0,
        Value::Int(_) | Value::Uint(_) | Value::Double(_) => 1,
        Value::String(_) => 2,
        _ => 3,
    };
    order(a, b).unwrap_or_else(|| rank(a).cmp(&rank(b)))
}
