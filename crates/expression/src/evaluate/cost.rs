//! What a call costs when it is made; the model of [`crate::estimate`] with the real sizes.

use crate::estimate::{
    AUTHORIZATION_COST, CHARACTER_COST, LIST_COST, NAMED_FORMAT_CHARACTERS, REGEX_CHARACTER_COST,
    SELECTOR_REQUIREMENT_COST, SELECTOR_REQUIREMENTS, scale,
};
use crate::limits::WEIGHT_PER_COST;
use crate::value::{ListKind, Value};

fn size(value: Option<&Value>) -> u64 {
    value.and_then(Value::size).map_or(1, |size| size as u64)
}

fn regex(text: u64, pattern: u64) -> u64 {
    scale(text.saturating_add(1), CHARACTER_COST)
        .saturating_mul(scale(pattern, REGEX_CHARACTER_COST))
}

/// What a call costs for its arguments.
pub(super) fn before(function: &str, arguments: &[Value]) -> u64 {
    let first = || size(arguments.first());
    let second = || size(arguments.get(1));
    let characters = |size: u64| scale(size, CHARACTER_COST);
    let weight = || arguments.iter().map(Value::weight).fold(0, u64::saturating_add);
    let text = matches!(arguments.first(), Some(Value::String(_) | Value::Bytes(_)));
    match function {
        "check" => AUTHORIZATION_COST,
        "fieldSelector" | "labelSelector" => {
            let requirements = scale(second(), SELECTOR_REQUIREMENTS);
            LIST_COST + characters(second()) + scale(requirements, SELECTOR_REQUIREMENT_COST)
        }
        "_==_" | "_!=_" => characters(first().min(second()))
            .max(weight() / WEIGHT_PER_COST)
            .max(composite_sets(arguments)),
        "_<_" | "_<=_" | "_>_" | "_>=_" if text => characters(first().min(second())),
        "_+_" if text => characters(first().saturating_add(second())),
        // Copying is counted from where it is more than a step.
        "_+_" => (1 + weight() / WEIGHT_PER_COST).max(composite_sets(arguments)),
        "@in" => match arguments.get(1) {
            Some(Value::List(list)) => (list.items.len() as u64).max(weight() / WEIGHT_PER_COST),
            _ => 1,
        },
        "startsWith"
        | "endsWith"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "url"
        | "isURL"
        | "strings.quote"
        | "jsonpatch.escapeKey"
        | "reverse"
        | "base64.encode"
        | "base64.decode"
        | "bytes"
        | "charAt"
            if text =>
        {
            characters(first())
        }
        "format" => characters(first()).saturating_add(weight()),
        "contains" => characters(first()).saturating_mul(characters(second())),
        "matches" | "find" | "findAll" => regex(first(), second()),
        "replace" | "split" | "ip.isCanonical" => scale(first(), 2.0 * CHARACTER_COST),
        "indexOf" | "lastIndexOf" if text => {
            characters(first()).max(characters(first()).saturating_mul(characters(second())))
        }
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "flatten" | "slice"
        | "reverse" => weight().max(1),
        "sort" | "@sortByAssociatedKeys" | "distinct" => quadratic(arguments),
        "sets.contains" | "sets.intersects" => product(arguments),
        "sets.equivalent" => product(arguments).saturating_mul(2),
        "isIP" | "isCIDR" | "cidr" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
            characters(first())
        }
        "ip" if text => characters(first()),
        "containsIP" | "containsCIDR" => 1 + characters(2 * ADDRESS_BYTES) + characters(second()),
        "validate" => scale(characters(second()), NAMED_FORMAT_CHARACTERS * REGEX_CHARACTER_COST),
        "lists.range" => match arguments.first() {
            Some(Value::Int(count)) => u64::try_from(*count).unwrap_or(0).max(1),
            _ => 1,
        },
        _ => 1,
    }
}

const ADDRESS_BYTES: u64 = 16;

/// What a call costs for its result.
pub(super) fn after(function: &str, result: &Value) -> u64 {
    match function {
        "join" => scale(size(Some(result)), 2.0 * CHARACTER_COST),
        "replace" => scale(size(Some(result)), CHARACTER_COST),
        _ => 0,
    }
}

/// Members without an order are compared one by one.
fn composite_sets(arguments: &[Value]) -> u64 {
    let composite = |value: &Value| match value {
        Value::List(list) if list.kind == ListKind::Set => {
            list.items.iter().any(|item| matches!(item, Value::List(_) | Value::Map(_)))
        }
        _ => false,
    };
    if arguments.iter().all(composite) { product(arguments) } else { 0 }
}

/// Every item of one list with every item of the other.
fn product(arguments: &[Value]) -> u64 {
    let weigh = |index: usize| arguments.get(index).map_or(1, Value::weight);
    let both = size(arguments.first()).saturating_mul(size(arguments.get(1)));
    let walked = weigh(0)
        .saturating_mul(size(arguments.get(1)))
        .saturating_add(weigh(1).saturating_mul(size(arguments.first())));
    both.max(walked / WEIGHT_PER_COST).max(1)
}

/// Every item with every other, where that is what is done.
fn quadratic(arguments: &[Value]) -> u64 {
    let weight = arguments.first().map_or(1, Value::weight);
    size(arguments.first()).saturating_mul(weight) / WEIGHT_PER_COST + weight.max(1)
}
