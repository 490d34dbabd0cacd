//! What `kubectl get hpa` shows: what is scaled, by which metrics, within which bounds.

use serde_json::Value;

use super::v1;
use crate::kinds::{cells, tree};
use crate::resource::{Cell, Column};

/// Metrics that a cell lists.
const METRICS_MAX: usize = 2;

/// The columns of v2 after `Name`.
pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::new("Reference", Cell::Compute(|o, _| reference(o).into())),
        Column::new("Targets", Cell::Compute(|o, _| targets(o).into())),
        Column::new(
            "MinPods",
            Cell::Compute(|o, _| cells::number_or_text(o, "/spec/minReplicas", "<unset>").into()),
        ),
        Column::new("MaxPods", Cell::Compute(|o, _| tree::count(o, "/spec/maxReplicas").into())),
        Column::new(
            "Replicas",
            Cell::Compute(|o, _| tree::count(o, "/status/currentReplicas").into()),
        ),
        cells::age(),
    ]
}

/// The columns of v1: the same, with the metrics of the storage form.
pub(super) fn columns_v1() -> Vec<Column> {
    let mut columns = columns();
    columns[1].cell = Cell::Compute(|o, _| targets(&v1::stored(o)).into());
    columns
}

fn reference(object: &Value) -> String {
    let target = |field: &str| tree::text(object, &format!("/spec/scaleTargetRef/{field}"));
    format!("{}/{}", target("kind"), target("name"))
}

fn shown(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "<unknown>".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// One metric as `current/target`.
fn metric(spec: &Value, status: Option<&Value>) -> String {
    let (field, is_resource) = match tree::text(spec, "/type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let current = |what: &str| {
        let place = format!("/{field}/current/{what}");
        shown(status.and_then(|status| tree::at(status, &place)))
    };
    let target = |what: &str| tree::at(spec, &format!("/{field}/target/{what}"));
    if is_resource {
        let name = tree::text(spec, &format!("/{field}/name")).to_owned();
        return resource_metric(&name, &current, &target);
    }
    match target("averageValue") {
        Some(average) if field == "pods" => {
            format!("{}/{}", current("averageValue"), shown(Some(average)))
        }
        Some(average) => format!("{}/{} (avg)", current("averageValue"), shown(Some(average))),
        None => format!("{}/{}", current("value"), shown(target("value"))),
    }
}

fn resource_metric<'a>(
    name: &str,
    current: &dyn Fn(&str) -> String,
    target: &dyn Fn(&str) -> Option<&'a Value>,
) -> String {
    if let Some(average) = target("averageValue") {
        return format!("{name}: {}/{}", current("averageValue"), shown(Some(average)));
    }
    let percent = |text: String| if text.starts_with('<') { text } else { format!("{text}%") };
    let wanted = match target("averageUtilization") {
        Some(number) => format!("{number}%"),
        None => "<auto>".to_owned(),
    };
    format!("{name}: {}/{wanted}", percent(current("averageUtilization")))
}

fn targets(object: &Value) -> String {
    let specs = tree::list(object, "/spec/metrics");
    let statuses = tree::list(object, "/status/currentMetrics");
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let shown: Vec<String> = specs
        .iter()
        .enumerate()
        .take(METRICS_MAX)
        .map(|(index, spec)| metric(spec, statuses.get(index)))
        .collect();
    let joined = shown.join(", ");
    if specs.len() > METRICS_MAX {
        format!("{joined} + {} more...", specs.len() - METRICS_MAX)
    } else {
        joined
    }
}
