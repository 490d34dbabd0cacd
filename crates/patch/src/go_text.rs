//! A tree as Go prints it (`%v`), for messages that clients know: `map[spec:map[replicas:1]]`.

use std::fmt::{Display, Formatter, Result};

use serde_json::Value;

/// Displays a tree in that form; keys are in order.
#[derive(Clone, Copy, Debug)]
pub struct GoText<'a>(pub &'a Value);

impl Display for GoText<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        match self.0 {
            Value::Null => formatter.write_str("<nil>"),
            Value::String(text) => formatter.write_str(text),
            Value::Array(items) => {
                formatter.write_str("[")?;
                for (number, item) in items.iter().enumerate() {
                    let space = if number > 0 { " " } else { "" };
                    write!(formatter, "{space}{}", Self(item))?;
                }
                formatter.write_str("]")
            }
            Value::Object(fields) => {
                formatter.write_str("map[")?;
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_unstable_by_key(|(key, _)| *key);
                for (number, (key, value)) in sorted.into_iter().enumerate() {
                    let space = if number > 0 { " " } else { "" };
                    write!(formatter, "{space}{key}:{}", Self(value))?;
                }
                formatter.write_str("]")
            }
            scalar => write!(formatter, "{scalar}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn trees_read_as_go_prints_them() {
        let tree = json!({"b": {"c": [1, "x y", null, true]}, "a": {}, "d": 1.5});
        assert_eq!(GoText(&tree).to_string(), "map[a:map[] b:map[c:[1 x y <nil> true]] d:1.5]");
    }
}
