//! The simple JSON paths of custom resource columns and selectable fields: `.spec.items[0].name`,
//! `.status.conditions[?(@.type=="Ready")].status`, `.metadata.labels.app\.kubernetes\.io/name`.

use serde_json::Value;

/// The names of a path that goes through fields only; `None` for any other, and for the empty one.
pub(crate) fn fields(path: &str) -> Option<Vec<String>> {
    let steps = parse(path).filter(|steps| path.starts_with('.') && !steps.is_empty())?;
    let name = |step| if let Step::Field(name) = step { Some(name) } else { None };
    steps.into_iter().map(name).collect()
}

enum Step {
    Field(String),
    Index(usize),
    All,
    Filter { field: Vec<String>, value: String },
}

/// All values at a path, in order; a path that cannot be read finds nothing.
pub(crate) fn find<'a>(root: &'a Value, path: &str) -> Vec<&'a Value> {
    let Some(steps) = parse(path) else { return Vec::new() };
    let mut found = vec![root];
    for step in &steps {
        found = found.into_iter().flat_map(|value| apply(value, step)).collect();
    }
    found
}

fn apply<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(index) => value.get(*index).into_iter().collect(),
        Step::All => match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => Vec::new(),
        },
        Step::Filter { field, value: wanted } => {
            let items = value.as_array().into_iter().flatten();
            let fits = |item: &&Value| {
                let at = field.iter().try_fold(*item, |value, name| value.get(name));
                at.is_some_and(|have| match have {
                    Value::String(text) => text == wanted,
                    other => format!("{other}") == *wanted,
                })
            };
            items.filter(fits).collect()
        }
    }
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let path = path.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
    let mut steps = Vec::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        match first {
            '.' => {
                let (name, tail) = take_name(&rest[1..]);
                if !name.is_empty() {
                    steps.push(if name == "*" { Step::All } else { Step::Field(name) });
                }
                rest = tail;
            }
            '[' => {
                let end = rest.find(']')?;
                steps.push(bracket(rest.get(1..end)?)?);
                rest = &rest[end + 1..];
            }
            _ => return None,
        }
    }
    Some(steps)
}

/// A name up to the next unescaped dot or bracket, and what follows.
fn take_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (name, &text[at..]),
            _ => name.push(character),
        }
    }
    (name, "")
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        let (left, right) = filter.split_once("==")?;
        let field = left.trim().strip_prefix("@.")?.split('.').map(str::to_owned).collect();
        let value = right.trim().trim_matches(['"', '\'']).to_owned();
        return Some(Step::Filter { field, value });
    }
    if let Ok(index) = inner.parse() {
        return Some(Step::Index(index));
    }
    let quoted = inner.strip_prefix('\'').and_then(|text| text.strip_suffix('\''))?;
    Some(Step::Field(quoted.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_values() {
        let object = json!({"spec": {"a.b": 1, "list": [{"n": "x"}, {"n": "y"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let cases = [
            (r".spec.a\.b", json!([1])),
            (".spec['a.b']", json!([1])),
            (".spec.list[1].n", json!(["y"])),
            (".spec.list[*].n", json!(["x", "y"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".none.of.it", json!([])),
            ("no dot", json!([])),
        ];
        for (path, expected) in cases {
            assert_eq!(json!(find(&object, path)), expected, "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_paths_do_not_panic(
            text in ".{0,40}",
            path in r#"(\.|a|\[|\]|\*|\?\(@\.|==|\)|'|"|\\|é|0){0,16}"#,
        ) {
            let object = json!({"a": [{"a": "0"}], "é": 1});
            let _any = (find(&object, &text).len(), find(&object, &path).len());
        }
    }
}
