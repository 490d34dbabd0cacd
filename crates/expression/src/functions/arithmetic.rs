//! Operators: arithmetic, order and equality.

use std::cmp::Ordering;

use jiff::SignedDuration;

use super::{Native, Outcome, no_overload};
use crate::value::{List, ListKind, Value};

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "!_" => not,
        "-_" => negate,
        "_==_" => |arguments| equality(arguments, true),
        "_!=_" => |arguments| equality(arguments, false),
        "_<_" => |arguments| order(arguments, Ordering::is_lt),
        "_<=_" => |arguments| order(arguments, Ordering::is_le),
        "_>_" => |arguments| order(arguments, Ordering::is_gt),
        "_>=_" => |arguments| order(arguments, Ordering::is_ge),
        "_+_" => add,
        "_-_" => subtract,
        "_*_" => multiply,
        "_/_" => divide,
        "_%_" => modulo,
        _ => return None,
    })
}

fn not(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => no_overload(),
    }
}

fn negate(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Int(number)] => int(number.checked_neg()),
        [Value::Double(number)] => Ok(Value::Double(-number)),
        _ => no_overload(),
    }
}

fn equality(arguments: &[Value], wanted: bool) -> Outcome {
    match arguments {
        [left, right] => Ok(Value::Bool(left.equals(right) == wanted)),
        _ => no_overload(),
    }
}

fn order(arguments: &[Value], wanted: fn(Ordering) -> bool) -> Outcome {
    match arguments {
        [left @ Value::Double(_), right] | [left, right @ Value::Double(_)] => {
            match left.order(right) {
                Some(order) => Ok(Value::Bool(wanted(order))),
                // With NaN nothing is in order.
                None if is_number(left) && is_number(right) => Ok(Value::Bool(false)),
                None => no_overload(),
            }
        }
        [left, right] => match left.order(right) {
            Some(order) => Ok(Value::Bool(wanted(order))),
            None => no_overload(),
        },
        _ => no_overload(),
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_))
}

fn int(number: Option<i64>) -> Outcome {
    number.map(Value::Int).ok_or_else(|| "integer overflow".to_owned())
}

fn uint(number: Option<u64>) -> Outcome {
    number.map(Value::Uint).ok_or_else(|| "unsigned integer overflow".to_owned())
}

fn span(number: Option<i64>) -> Outcome {
    number.map(Value::Duration).ok_or_else(|| "duration overflow".to_owned())
}

fn add(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Int(a), Value::Int(b)] => int(a.checked_add(*b)),
        [Value::Uint(a), Value::Uint(b)] => uint(a.checked_add(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a + b)),
        [Value::String(a), Value::String(b)] => Ok(Value::string(format!("{a}{b}"))),
        [Value::Bytes(a), Value::Bytes(b)] => Ok(Value::Bytes([&**a, &**b].concat().into())),
        [Value::Duration(a), Value::Duration(b)] => span(a.checked_add(*b)),
        [Value::Timestamp(time), Value::Duration(span)]
        | [Value::Duration(span), Value::Timestamp(time)] => shift(*time, Some(*span)),
        [Value::List(a), Value::List(b)] => Ok(concatenate(a, b)),
        _ => no_overload(),
    }
}

fn shift(time: jiff::Timestamp, nanoseconds: Option<i64>) -> Outcome {
    nanoseconds
        .and_then(|span| time.checked_add(SignedDuration::from_nanos(span)).ok())
        .filter(super::time::in_range)
        .map(Value::Timestamp)
        .ok_or_else(|| "timestamp overflow".to_owned())
}

/// Sets become their union, maps of lists are merged by key with the right side winning.
fn concatenate(a: &List, b: &List) -> Value {
    let mut items = a.items.clone();
    match &a.kind {
        ListKind::Plain => items.extend(b.items.iter().cloned()),
        ListKind::Set => {
            let members = crate::value::Members::of(&a.items);
            items.extend(b.items.iter().filter(|item| !members.has(item, 0)).cloned());
        }
        ListKind::Map(keys) => {
            let mut places: std::collections::HashMap<String, usize> = items
                .iter()
                .enumerate()
                .map(|(index, item)| (crate::value::identity(item, keys), index))
                .collect();
            for item in &b.items {
                match places.get(&crate::value::identity(item, keys)) {
                    Some(index) => items[*index] = item.clone(),
                    None => {
                        places.insert(crate::value::identity(item, keys), items.len());
                        items.push(item.clone());
                    }
                }
            }
        }
    }
    Value::List(List::new(items, a.kind.clone()).into())
}

fn subtract(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Int(a), Value::Int(b)] => int(a.checked_sub(*b)),
        [Value::Uint(a), Value::Uint(b)] => uint(a.checked_sub(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a - b)),
        [Value::Duration(a), Value::Duration(b)] => span(a.checked_sub(*b)),
        [Value::Timestamp(time), Value::Duration(span)] => shift(*time, span.checked_neg()),
        [Value::Timestamp(a), Value::Timestamp(b)] => {
            let between = a.as_nanosecond() - b.as_nanosecond();
            span(i64::try_from(between).ok())
        }
        _ => no_overload(),
    }
}

fn multiply(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Int(a), Value::Int(b)] => int(a.checked_mul(*b)),
        [Value::Uint(a), Value::Uint(b)] => uint(a.checked_mul(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a * b)),
        _ => no_overload(),
    }
}

fn divide(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err("division by zero".to_owned())
        }
        [Value::Int(a), Value::Int(b)] => int(a.checked_div(*b)),
        [Value::Uint(a), Value::Uint(b)] => uint(a.checked_div(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a / b)),
        _ => no_overload(),
    }
}

fn modulo(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err("modulus by zero".to_owned())
        }
        [Value::Int(a), Value::Int(b)] => int(a.checked_rem(*b)),
        [Value::Uint(a), Value::Uint(b)] => uint(a.checked_rem(*b)),
        _ => no_overload(),
    }
}
