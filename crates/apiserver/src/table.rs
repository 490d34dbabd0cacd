//! The `Table` form: columns and cells as `kubectl get` prints them.

use api::resource::{Cell, Column, Resource};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Renders objects (in the row's version) as one table.
pub(crate) fn render(
    resource: &Resource,
    objects: &[Value],
    revision: &str,
    include: &str,
    now: Timestamp,
) -> Value {
    let columns = resource.table_columns();
    let definitions: Vec<Value> = columns.iter().map(definition).collect();
    let rows: Vec<Value> =
        objects.iter().map(|object| row(&columns, object, include, now)).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": revision},
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name, "type": column.kind, "format": column.format,
        "description": column.description, "priority": column.priority,
    })
}

fn row(columns: &[Column], object: &Value, include: &str, now: Timestamp) -> Value {
    let cells: Vec<Value> = columns.iter().map(|column| cell(column, object, now)).collect();
    let mut row = json!({"cells": cells});
    match include {
        "None" => {}
        "Object" => row["object"] = object.clone(),
        _ => {
            row["object"] = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": object.get("metadata").cloned().unwrap_or_default(),
            });
        }
    }
    row
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    match &column.cell {
        Cell::Compute(compute) => compute(object, now),
        Cell::Pointer(pointer) => object.pointer(pointer).cloned().unwrap_or_else(|| "".into()),
        Cell::Path(path) => custom_cell(column, path, object, now),
    }
}

/// A custom resource's cell: the first value at a simple JSON path; dates become ages.
fn custom_cell(column: &Column, path: &str, object: &Value, now: Timestamp) -> Value {
    let found = crate::json_path::find(object, path);
    match (&*column.kind, found.first()) {
        (_, None) => Value::Null,
        ("date", Some(value)) => {
            let time = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
            let age = time.map(|time| now.duration_since(time).as_secs());
            age.map_or_else(|| "<unknown>".into(), |age| api::kinds::human_duration(age).into())
        }
        ("string", Some(Value::String(text))) => text.clone().into(),
        ("string", Some(other)) => other.to_string().into(),
        (_, Some(value)) => (*value).clone(),
    }
}
