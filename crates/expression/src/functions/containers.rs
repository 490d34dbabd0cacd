//! Lists and maps: size, index, membership; and entries of maps that loops make.

use std::sync::Arc;

use super::{Native, Outcome, no_overload};
use crate::evaluate::shown;
use crate::value::Value;

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "size" => size,
        "_[_]" => index,
        "_[?_]" => optional_index,
        "@in" => within,
        "cel.@mapInsert" => insert,
        _ => return None,
    })
}

fn size(arguments: &[Value]) -> Outcome {
    match arguments {
        [value] => match value.size() {
            Some(size) => Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX))),
            None => no_overload(),
        },
        _ => no_overload(),
    }
}

/// A whole number that may be an index.
#[expect(clippy::cast_possible_truncation, reason = "only whole numbers in range are cast")]
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Uint(number) => i64::try_from(*number).ok(),
        Value::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Some(*number as i64)
        }
        _ => None,
    }
}

fn at(container: &Value, key: &Value) -> Result<Option<Value>, String> {
    match container {
        Value::List(list) => match whole(key) {
            Some(index) => {
                let found = usize::try_from(index).ok().and_then(|index| list.items.get(index));
                Ok(found.cloned())
            }
            None => {
                Err(format!("unsupported index type '{}' in list", key.type_of().runtime_name()))
            }
        },
        Value::Map(map) => Ok(map.get(key).cloned()),
        _ => Err("no such overload".to_owned()),
    }
}

fn index(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Optional(_), _] => optional_index(arguments),
        [container, key] => at(container, key)?.ok_or_else(|| match container {
            Value::List(_) => format!("index out of bounds: {}", shown(key)),
            _ => format!("no such key: {}", shown(key)),
        }),
        _ => no_overload(),
    }
}

fn optional_index(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Optional(None), _] => Ok(Value::Optional(None)),
        [Value::Optional(Some(inner)), key] => optional_index(&[(**inner).clone(), key.clone()]),
        [container, key] => Ok(Value::Optional(at(container, key)?.map(Arc::new))),
        _ => no_overload(),
    }
}

fn within(arguments: &[Value]) -> Outcome {
    match arguments {
        [item, Value::List(list)] => Ok(Value::Bool(list.items.iter().any(|own| own.equals(item)))),
        [key, Value::Map(map)] => Ok(Value::Bool(map.get(key).is_some())),
        _ => no_overload(),
    }
}

fn insert(arguments: &[Value]) -> Outcome {
    let (map, entries) = match arguments {
        [Value::Map(map), Value::Map(more)] => (map, more.entries.clone()),
        [Value::Map(map), key, value] => (map, vec![(key.clone(), value.clone())]),
        _ => return no_overload(),
    };
    let mut map = (**map).clone();
    for (key, value) in entries {
        let text = shown(&key);
        if !map.insert(key, value) {
            return Err(format!("insert failed: key {text} already exists"));
        }
    }
    Ok(Value::Map(Arc::new(map)))
}
