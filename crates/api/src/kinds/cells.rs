//! Cells and columns that several kinds show.

use jiff::Timestamp;
use serde_json::Value;

use super::{duration, tree};
use crate::meta;
use crate::resource::{Cell, Column};

/// How many endpoints, ports and hosts a cell lists.
pub(super) const LIST_MAX: usize = 3;

/// `Age`, from the creation.
pub(super) fn age() -> Column {
    Column::new("Age", Cell::Compute(|o, now| created(o, now).into()))
}

/// `Created At`, the time itself: kinds that upstream has no columns for.
pub(super) fn created_at() -> Column {
    let mut column = Column::new("Created At", Cell::Pointer("/metadata/creationTimestamp"));
    column.kind = "date".into();
    column
}

/// A flag column.
pub(super) fn boolean(name: &'static str, cell: Cell) -> Column {
    Column { kind: "boolean".into(), ..Column::new(name, cell) }
}

fn created(object: &Value, now: Timestamp) -> String {
    duration::since(meta::get(object, "creationTimestamp"), now)
}

/// `Containers`, `Images` and `Selector`, shown with `-o wide` by everything that has a pod template.
pub(super) fn workload_wide() -> [Column; 3] {
    [
        Column::wide("Containers", Cell::Compute(|o, _| names(o).into())),
        Column::wide("Images", Cell::Compute(|o, _| images(o).into())),
        Column::wide("Selector", Cell::Compute(|o, _| selector(o, "/spec/selector").into())),
    ]
}

fn names(object: &Value) -> String {
    container_texts(tree::list(object, "/spec/template/spec/containers"), "/name")
}

fn images(object: &Value) -> String {
    container_texts(tree::list(object, "/spec/template/spec/containers"), "/image")
}

/// A field of each container, with commas.
pub(super) fn container_texts(containers: &[Value], pointer: &str) -> String {
    let texts: Vec<&str> = containers.iter().map(|c| tree::text(c, pointer)).collect();
    texts.join(",")
}

/// `a=b,c=d`, or `<none>`.
pub(super) fn labels(object: &Value, pointer: &str) -> String {
    let pairs: Vec<String> = tree::entries(object, pointer)
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// A label selector in the form of the command line, or `<none>`.
pub(super) fn selector(object: &Value, pointer: &str) -> String {
    let Some(selector) = tree::at(object, pointer) else { return "<none>".to_owned() };
    let mut parts: Vec<(String, String)> = tree::entries(selector, "/matchLabels")
        .map(|(key, value)| (key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    parts.extend(tree::list(selector, "/matchExpressions").iter().map(expression));
    parts.sort_by(|(left, _), (right, _)| left.cmp(right));
    let texts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
    if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
}

fn expression(requirement: &Value) -> (String, String) {
    let key = tree::text(requirement, "/key");
    let mut values = tree::texts(requirement, "/values");
    values.sort_unstable();
    let values = values.join(",");
    let text = match tree::text(requirement, "/operator") {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "Exists" => key.to_owned(),
        _ => format!("!{key}"),
    };
    (key.to_owned(), text)
}

/// `text`, or `<none>`.
pub(super) fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text.to_owned() }
}

/// The first few of `all` with commas, and how many more there are.
pub(super) fn some(all: &[String]) -> String {
    if all.len() > LIST_MAX {
        format!("{} + {} more...", all[..LIST_MAX].join(","), all.len() - LIST_MAX)
    } else {
        all.join(",")
    }
}

/// The flag at a pointer as text, `<unset>` when missing.
pub(super) fn optional_flag(object: &Value, pointer: &str) -> String {
    match tree::at(object, pointer).and_then(Value::as_bool) {
        Some(true) => "True".to_owned(),
        Some(false) => "False".to_owned(),
        None => "<unset>".to_owned(),
    }
}

/// A number or text field as text, `otherwise` when missing.
pub(super) fn number_or_text(object: &Value, pointer: &str, otherwise: &str) -> String {
    match tree::at(object, pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => otherwise.to_owned(),
    }
}

/// Whether a condition is there with status `True`.
pub(super) fn condition_is_true(object: &Value, kind: &str) -> bool {
    tree::list(object, "/status/conditions")
        .iter()
        .any(|c| tree::text(c, "/type") == kind && tree::text(c, "/status") == "True")
}

/// What `columns` shows for `object` a while after its creation, cell by cell: for tests.
#[cfg(test)]
pub(super) fn show(row: &crate::resource::Resource, object: &Value, now: &str) -> Vec<String> {
    let now: Timestamp = now.parse().unwrap();
    let cell = |column: &Column| match &column.cell {
        Cell::Compute(compute) => compute(object, now),
        Cell::Pointer(pointer) => tree::at(object, pointer).cloned().unwrap_or_default(),
        Cell::Path(path) => panic!("a built-in kind has a JSON path: {path}"),
    };
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    };
    row.columns.iter().map(|column| text(cell(column))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_read_as_on_the_command_line() {
        let object = json!({"s": {"matchLabels": {"b": "1"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "Exists"},
            {"key": "d", "operator": "DoesNotExist"}, {"key": "e", "operator": "NotIn", "values": ["z"]}]}});
        assert_eq!(selector(&object, "/s"), "a in (x,y),b=1,c,!d,e notin (z)");
        assert_eq!(selector(&object, "/t"), "<none>");
    }
}
