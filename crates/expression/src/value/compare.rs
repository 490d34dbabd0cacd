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
            let (in_a, in_b) = (Members::of(&a.items), Members::of(&b.items));
            a.items.iter().all(|item| in_b.has(item, depth + 1))
                && b.items.iter().all(|item| in_a.has(item, depth + 1))
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

/// The members of a set, so that one is found without looking at all: what a rule may cost counts members once.
pub(crate) struct Members<'a>(Vec<&'a Value>);

impl<'a> Members<'a> {
    pub(crate) fn of(items: &'a [Value]) -> Self {
        let mut members: Vec<&Value> = items.iter().collect();
        members.sort_by(|a, b| keys(a, b));
        Self(members)
    }

    /// Whether a value is among them. Those without an order, lists and maps, are looked at one by one.
    pub(crate) fn has(&self, item: &Value, depth: usize) -> bool {
        let start = self.0.partition_point(|own| keys(own, item).is_lt());
        let alike = self.0[start..].iter().take_while(|own| keys(own, item).is_eq());
        alike.into_iter().any(|own| equal(own, item, depth))
    }
}

/// A total order of keys: Booleans, numbers, strings, and then the rest, of which those without an order are alike.
pub(super) fn keys(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Bool(_) => 0,
        Value::Double(number) if number.is_nan() => 6,
        Value::Int(_) | Value::Uint(_) | Value::Double(_) => 1,
        Value::String(_) => 2,
        Value::Bytes(_) => 3,
        Value::Timestamp(_) => 4,
        Value::Duration(_) => 5,
        _ => 7,
    };
    order(a, b).unwrap_or_else(|| rank(a).cmp(&rank(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: impl Iterator<Item = i64>) -> List {
        List::new(items.map(|number| Value::string(number.to_string())).collect(), ListKind::Set)
    }

    /// As many as fit into a request: a look at all of them for each would take minutes.
    #[test]
    fn large_sets_are_compared_in_time() {
        let (up, down) = (set(0..150_000), set((0..150_000).rev()));
        assert!(lists(&up, &down, 0));
        assert!(!lists(&up, &set(1..150_001), 0));
        let members = Members::of(&up.items);
        assert!(members.has(&Value::string("149999"), 0) && !members.has(&Value::string("x"), 0));
    }

    #[test]
    fn members_of_any_type_are_found() {
        let values = [
            Value::Null,
            Value::Int(1),
            Value::Double(2.5),
            Value::string("a"),
            Value::list(vec![Value::Int(1)]),
            Value::list(vec![Value::Int(2)]),
        ];
        let members = Members::of(&values);
        assert!(values.iter().all(|value| members.has(value, 0)));
        assert!(members.has(&Value::Double(1.0), 0), "numbers are equal across types");
        assert!(!members.has(&Value::list(vec![]), 0) && !members.has(&Value::Double(f64::NAN), 0));
    }

    /// Sorting may panic when it is not.
    #[test]
    fn the_order_of_keys_is_total() {
        let values = [
            Value::Double(f64::NAN),
            Value::Int(3),
            Value::Double(1.5),
            Value::Uint(2),
            Value::Bool(true),
            Value::string("a"),
            Value::Duration(1),
            Value::Duration(2),
            Value::Timestamp(jiff::Timestamp::UNIX_EPOCH),
            Value::Bytes(b"x"[..].into()),
            Value::Null,
        ];
        for a in &values {
            for b in &values {
                assert_eq!(keys(a, b), keys(b, a).reverse(), "{a:?} {b:?}");
                for c in &values {
                    let ordered = keys(a, b).is_le() && keys(b, c).is_le();
                    assert!(!ordered || keys(a, c).is_le(), "{a:?} {b:?} {c:?}");
                }
            }
        }
    }
}
