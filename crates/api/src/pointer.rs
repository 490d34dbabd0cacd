//! Places in an object tree by JSON pointer (RFC 6901), such as `/spec/containers/0/name`.
//!
//! [`serde_json::Value::pointer`] copies every step to undo its escapes. Ours are written in the code and hardly ever
//! have any, and each write of an object looks up dozens.

use serde_json::Value;

/// The value at a pointer.
pub fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.contains('~') {
        return object.pointer(pointer);
    }
    steps(pointer)?.try_fold(object, |value, step| match value {
        Value::Object(map) => map.get(step),
        Value::Array(items) => items.get(index(step)?),
        _ => None,
    })
}

/// The value at a pointer, to change it.
pub fn at_mut<'a>(object: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    if pointer.contains('~') {
        return object.pointer_mut(pointer);
    }
    steps(pointer)?.try_fold(object, |value, step| match value {
        Value::Object(map) => map.get_mut(step),
        Value::Array(items) => items.get_mut(index(step)?),
        _ => None,
    })
}

/// The steps of a pointer, which begins with a slash or is empty.
fn steps(pointer: &str) -> Option<impl Iterator<Item = &str>> {
    let rest = pointer.strip_prefix('/');
    if rest.is_none() && !pointer.is_empty() {
        return None;
    }
    Some(rest.into_iter().flat_map(|rest| rest.split('/')))
}

fn index(step: &str) -> Option<usize> {
    let is_canonical = !step.starts_with('+') && (step == "0" || !step.starts_with('0'));
    if is_canonical { step.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn it_finds_what_serde_finds(pointer in "(/(a|b|0|1|01|\\+1|~0|~1|)){0,4}|a|~") {
            let mut object = json!({"a": [{"b": 1}, [2, 3]], "b": {"": {"a": 4}, "~": 5, "/": {"0": 6}}, "": 7});
            prop_assert_eq!(at(&object, &pointer), object.pointer(&pointer));
            let mut other = object.clone();
            prop_assert_eq!(at_mut(&mut object, &pointer), other.pointer_mut(&pointer));
        }
    }
}
