//! Lists as sets.

use super::{Native, Outcome, no_overload};
use crate::value::{List, Value};

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "sets.contains" => |arguments| both(arguments, contains),
        "sets.equivalent" => |arguments| both(arguments, |a, b| contains(a, b) && contains(b, a)),
        "sets.intersects" => |arguments| both(arguments, |a, b| b.items.iter().any(|i| has(a, i))),
        _ => return None,
    })
}

fn both(arguments: &[Value], test: fn(&List, &List) -> bool) -> Outcome {
    match arguments {
        [Value::List(a), Value::List(b)] => Ok(Value::Bool(test(a, b))),
        _ => no_overload(),
    }
}

fn has(list: &List, item: &Value) -> bool {
    list.items.iter().any(|own| own.equals(item))
}

/// Whether the first has all items of the second.
fn contains(list: &List, part: &List) -> bool {
    part.items.iter().all(|item| has(list, item))
}
