//! Values that may be absent.

use super::{Native, Outcome, no_overload};
use crate::value::Value;

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "optional.of" => |arguments| match arguments {
            [value] => Ok(Value::some(value.clone())),
            _ => no_overload(),
        },
        "optional.ofNonZeroValue" => |arguments| match arguments {
            [value] if value.is_zero() => Ok(Value::Optional(None)),
            [value] => Ok(Value::some(value.clone())),
            _ => no_overload(),
        },
        "optional.none" => |_| Ok(Value::Optional(None)),
        "value" => |arguments| match arguments {
            [Value::Optional(Some(value))] => Ok((**value).clone()),
            [Value::Optional(None)] => Err("optional.none() dereference".to_owned()),
            _ => no_overload(),
        },
        "hasValue" => |arguments| match arguments {
            [Value::Optional(value)] => Ok(Value::Bool(value.is_some())),
            _ => no_overload(),
        },
        "or" => |arguments| match arguments {
            [Value::Optional(None), other] => Ok(other.clone()),
            [value @ Value::Optional(_), _] => Ok(value.clone()),
            _ => no_overload(),
        },
        "orValue" => or_value,
        _ => return None,
    })
}

fn or_value(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Optional(Some(value)), _] => Ok((**value).clone()),
        [Value::Optional(None), other] => Ok(other.clone()),
        _ => no_overload(),
    }
}
