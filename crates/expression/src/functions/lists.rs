//! Lists: upstream's list library, and CEL's list extensions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Native, Outcome, arithmetic, no_overload};
use crate::value::{List, ListKind, Value};

/// Most items that `lists.range` makes.
const RANGE_MAX: i64 = 1_000_000;

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "isSorted" => is_sorted,
        "sum" => sum,
        "min" => |arguments| extreme(arguments, "min", Ordering::Less),
        "max" => |arguments| extreme(arguments, "max", Ordering::Greater),
        "indexOf" => index_of,
        "lastIndexOf" => last_index_of,
        "slice" => slice,
        "flatten" => flatten,
        "sort" => sort,
        "@sortByAssociatedKeys" => sort_by,
        "lists.range" => range,
        "distinct" => distinct,
        "reverse" => reverse,
        _ => return None,
    })
}

fn is_sorted(arguments: &[Value]) -> Outcome {
    let [Value::List(list)] = arguments else { return no_overload() };
    for pair in list.items.windows(2) {
        match pair[0].order(&pair[1]) {
            Some(Ordering::Greater) => return Ok(Value::Bool(false)),
            Some(_) => {}
            None => return no_overload(),
        }
    }
    Ok(Value::Bool(true))
}

fn sum(arguments: &[Value]) -> Outcome {
    let [Value::List(list)] = arguments else { return no_overload() };
    let Some(add) = arithmetic::find("_+_") else { return no_overload() };
    let mut items = list.items.iter();
    let Some(first) = items.next() else { return Ok(Value::Int(0)) };
    if !matches!(first, Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_)) {
        return no_overload();
    }
    items.try_fold(first.clone(), |sum, item| add(&[sum, item.clone()]))
}

fn extreme(arguments: &[Value], name: &str, wanted: Ordering) -> Outcome {
    let [Value::List(list)] = arguments else { return no_overload() };
    let mut items = list.items.iter();
    let Some(mut best) = items.next() else {
        return Err(format!("{name} called on empty list"));
    };
    for item in items {
        match item.order(best) {
            Some(order) if order == wanted => best = item,
            Some(_) => {}
            None => return no_overload(),
        }
    }
    Ok(best.clone())
}

fn position(index: Option<usize>) -> Outcome {
    let index = index.and_then(|index| i64::try_from(index).ok());
    Ok(Value::Int(index.unwrap_or(-1)))
}

/// Where a part of a text begins, in characters, among the places that `allowed` says.
fn within_text(
    text: &str,
    part: &str,
    last: bool,
    allowed: impl Fn(usize) -> bool,
) -> Option<usize> {
    let mut places = text
        .char_indices()
        .map(|(byte, _)| byte)
        .chain([text.len()])
        .enumerate()
        .filter(|(index, byte)| allowed(*index) && text[*byte..].starts_with(part))
        .map(|(index, _)| index);
    if last { places.last() } else { places.next() }
}

fn index_of(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::List(list), item] => position(list.items.iter().position(|own| own.equals(item))),
        [Value::String(text), Value::String(part)] => {
            position(within_text(text, part, false, |_| true))
        }
        [Value::String(text), Value::String(part), Value::Int(from)] => {
            let from = text_place(text, *from)?;
            position(within_text(text, part, false, |index| index >= from))
        }
        _ => no_overload(),
    }
}

fn last_index_of(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::List(list), item] => position(list.items.iter().rposition(|own| own.equals(item))),
        [Value::String(text), Value::String(part)] => {
            position(within_text(text, part, true, |_| true))
        }
        [Value::String(text), Value::String(part), Value::Int(to)] => {
            let to = text_place(text, *to)?;
            position(within_text(text, part, true, |index| index <= to))
        }
        _ => no_overload(),
    }
}

fn text_place(text: &str, index: i64) -> Result<usize, String> {
    let length = text.chars().count();
    let place = usize::try_from(index).ok().filter(|index| *index <= length);
    place.ok_or_else(|| format!("index out of range: {index}"))
}

fn slice(arguments: &[Value]) -> Outcome {
    let [Value::List(list), Value::Int(start), Value::Int(end)] = arguments else {
        return no_overload();
    };
    if *start < 0 || *end < 0 {
        return Err(format!("cannot slice({start}, {end}), negative indexes not supported"));
    }
    if start > end {
        return Err(format!(
            "cannot slice({start}, {end}), start index must be less than or equal to end index"
        ));
    }
    let bounds = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
    match bounds.and_then(|(start, end)| list.items.get(start..end)) {
        Some(items) => Ok(Value::list(items.to_vec())),
        None => {
            let length = list.items.len();
            Err(format!("cannot slice({start}, {end}), list is length {length}"))
        }
    }
}

fn flatten(arguments: &[Value]) -> Outcome {
    let (list, depth) = match arguments {
        [Value::List(list)] => (list, 1),
        [Value::List(list), Value::Int(depth)] => (list, *depth),
        _ => return no_overload(),
    };
    if depth < 0 {
        return Err("level must be non-negative".to_owned());
    }
    let mut flat = Vec::new();
    flatten_into(&mut flat, &list.items, depth);
    Ok(Value::list(flat))
}

fn flatten_into(flat: &mut Vec<Value>, items: &[Value], depth: i64) {
    for item in items {
        match item {
            Value::List(inner) if depth > 0 => flatten_into(flat, &inner.items, depth - 1),
            other => flat.push(other.clone()),
        }
    }
}

fn sort(arguments: &[Value]) -> Outcome {
    let [Value::List(list)] = arguments else { return no_overload() };
    sorted(&list.items, &list.items)
}

fn sort_by(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::List(list), Value::List(keys)] if list.items.len() == keys.items.len() => {
            sorted(&list.items, &keys.items)
        }
        _ => no_overload(),
    }
}

fn sorted(items: &[Value], keys: &[Value]) -> Outcome {
    let comparable = |key: &Value| {
        keys.first().is_some_and(|first| {
            std::mem::discriminant(first) == std::mem::discriminant(key)
                && (key.order(key).is_some() || matches!(key, Value::Double(_)))
        })
    };
    if !keys.iter().all(comparable) {
        return Err("list elements must have the same type".to_owned());
    }
    let mut pairs: Vec<(&Value, &Value)> = keys.iter().zip(items).collect();
    pairs.sort_by(|(a, _), (b, _)| total(a, b));
    Ok(Value::list(pairs.into_iter().map(|(_, item)| item.clone()).collect()))
}

/// A total order: NaN has a place too.
fn total(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.total_cmp(b),
        _ => a.order(b).unwrap_or(Ordering::Equal),
    }
}

fn range(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Int(count)] if *count <= RANGE_MAX => {
            Ok(Value::list((0..*count).map(Value::Int).collect()))
        }
        [Value::Int(_)] => Err("the value is too large".to_owned()),
        _ => no_overload(),
    }
}

fn distinct(arguments: &[Value]) -> Outcome {
    let [Value::List(list)] = arguments else { return no_overload() };
    let mut kept: Vec<Value> = Vec::new();
    for item in &list.items {
        if !kept.iter().any(|own| own.equals(item)) {
            kept.push(item.clone());
        }
    }
    Ok(Value::list(kept))
}

fn reverse(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::List(list)] => {
            let items = list.items.iter().rev().cloned().collect();
            Ok(Value::List(Arc::new(List::new(items, ListKind::Plain))))
        }
        [Value::String(text)] => Ok(Value::string(text.chars().rev().collect::<String>())),
        _ => no_overload(),
    }
}
