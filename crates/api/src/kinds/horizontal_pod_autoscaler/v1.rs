//! Version v1: one cpu target in a field of its own; everything that v2 has beside it is in annotations.

use serde_json::{Value, json};

use crate::kinds::tree;
use crate::meta;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const STATUSES: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Names of a source's parts: in v2 (as JSON pointer) and in v1.
type Names = &'static [(&'static str, &'static str)];

const RESOURCE: Names = &[
    ("/name", "name"),
    ("/container", "container"),
    ("/target/averageUtilization", "targetAverageUtilization"),
    ("/target/averageValue", "targetAverageValue"),
    ("/current/averageUtilization", "currentAverageUtilization"),
    ("/current/averageValue", "currentAverageValue"),
];
const PODS: Names = &[
    ("/metric/name", "metricName"),
    ("/metric/selector", "selector"),
    ("/target/averageValue", "targetAverageValue"),
    ("/current/averageValue", "currentAverageValue"),
];
const OBJECT: Names = &[
    ("/describedObject", "target"),
    ("/metric/name", "metricName"),
    ("/metric/selector", "selector"),
    ("/target/value", "targetValue"),
    ("/target/averageValue", "averageValue"),
    ("/current/value", "currentValue"),
    ("/current/averageValue", "averageValue"),
];
const EXTERNAL: Names = &[
    ("/metric/name", "metricName"),
    ("/metric/selector", "metricSelector"),
    ("/target/value", "targetValue"),
    ("/target/averageValue", "targetAverageValue"),
    ("/current/value", "currentValue"),
    ("/current/averageValue", "currentAverageValue"),
];

const SOURCES: [(&str, &str, Names); 5] = [
    ("Resource", "resource", RESOURCE),
    ("ContainerResource", "containerResource", RESOURCE),
    ("Pods", "pods", PODS),
    ("Object", "object", OBJECT),
    ("External", "external", EXTERNAL),
];

/// Sets a value at a pointer of one or two steps.
fn put(object: &mut Value, pointer: &str, value: Value) {
    let mut steps = pointer.trim_start_matches('/').split('/');
    let (first, second) = (steps.next().unwrap_or_default(), steps.next());
    match second {
        Some(second) => tree::set(tree::make(object, first), second, value),
        None => tree::set(object, first, value),
    }
}

/// A metric (`part` is `target`) or its state (`current`) in the form of v1.
fn metric_to_v1(metric: &Value, part: &str) -> Value {
    let kind = tree::text(metric, "/type");
    let mut result = json!({"type": kind});
    let Some((_, field, names)) = SOURCES.iter().find(|(name, _, _)| *name == kind) else {
        return result;
    };
    let other = if part == "target" { "/current" } else { "/target" };
    let mut source = json!({});
    for (v2, v1) in names.iter().filter(|(v2, _)| !v2.starts_with(other)) {
        if let Some(value) = tree::at(metric, &format!("/{field}{v2}")) {
            tree::set(&mut source, v1, value.clone());
        }
    }
    // These two are no pointers in v1, so they are always written.
    let value = if part == "target" { "targetValue" } else { "currentValue" };
    if *field == "object" {
        tree::fill(&mut source, value, "0");
    }
    tree::set(&mut result, field, source);
    result
}

/// The kind of a v2 target, by what is in it.
fn target_type(target: &Value) -> &'static str {
    if tree::at(target, "/averageUtilization").is_some() {
        "Utilization"
    } else if tree::at(target, "/averageValue").is_some() {
        "AverageValue"
    } else {
        "Value"
    }
}

/// The reverse of [`metric_to_v1`].
fn metric_from_v1(metric: &Value, part: &str) -> Value {
    let kind = tree::text(metric, "/type");
    let mut result = json!({"type": kind});
    let Some((_, field, names)) = SOURCES.iter().find(|(name, _, _)| *name == kind) else {
        return result;
    };
    let other = if part == "target" { "/current" } else { "/target" };
    let mut source = json!({});
    tree::make(&mut source, part);
    let has_average = tree::at(metric, &format!("/{field}/averageValue")).is_some();
    for (v2, v1) in names.iter().filter(|(v2, _)| !v2.starts_with(other)) {
        let Some(value) = tree::at(metric, &format!("/{field}/{v1}")) else { continue };
        let is_filler = value == "0" && has_average && v2.ends_with("/value");
        if !is_filler {
            put(&mut source, v2, value.clone());
        }
    }
    if let Some(target) = tree::child(&mut source, "target") {
        let kind = target_type(target);
        tree::set(target, "type", kind);
    }
    tree::set(&mut result, field, source);
    result
}

/// Whether a metric is the one that v1 has a field for.
fn is_cpu_utilization(metric: &Value, part: &str) -> bool {
    tree::text(metric, "/type") == "Resource"
        && tree::text(metric, "/resource/name") == "cpu"
        && tree::at(metric, &format!("/resource/{part}/averageUtilization")).is_some()
}

fn take_annotation(object: &mut Value, key: &str) -> Option<Value> {
    let text = meta::annotation(object, key)?.to_owned();
    if let Some(annotations) = tree::at_mut(object, "/metadata/annotations") {
        tree::remove(annotations, key);
    }
    serde_json::from_str(&text).ok()
}

fn list_from_v1(annotation: Option<&Value>, part: &str) -> Vec<Value> {
    let items = annotation.and_then(Value::as_array).map(Vec::as_slice);
    items.unwrap_or_default().iter().map(|metric| metric_from_v1(metric, part)).collect()
}

/// A v1 object in the storage form.
pub(super) fn stored(object: &Value) -> Value {
    let mut object = object.clone();
    let spec = tree::make(&mut object, "spec");
    let percent = tree::remove(spec, "targetCPUUtilizationPercentage").filter(|v| !v.is_null());
    let annotation = take_annotation(&mut object, METRICS);
    let mut metrics = list_from_v1(annotation.as_ref(), "target");
    // Annotations may name other metrics, so that it is only known here whether there is none.
    let default = metrics.is_empty().then(|| super::CPU_UTILIZATION.into());
    metrics.extend(percent.or(default).as_ref().map(super::cpu_utilization));
    tree::set(tree::make(&mut object, "spec"), "metrics", metrics);
    if let Some(behavior) = take_annotation(&mut object, BEHAVIOR) {
        tree::set(tree::make(&mut object, "spec"), "behavior", behavior);
    }
    let annotation = take_annotation(&mut object, STATUSES);
    let mut statuses = list_from_v1(annotation.as_ref(), "current");
    let conditions = take_annotation(&mut object, CONDITIONS);
    if let Some(status) = tree::child(&mut object, "status") {
        if let Some(percent) = tree::remove(status, "currentCPUUtilizationPercentage") {
            let has_cpu = statuses.iter().any(|metric| is_cpu_utilization(metric, "current"));
            if !has_cpu && !percent.is_null() {
                statuses.push(json!({"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": percent}}}));
            }
        }
        if !statuses.is_empty() {
            tree::set(status, "currentMetrics", statuses);
        }
        if let Some(conditions) = conditions {
            tree::set(status, "conditions", conditions);
        }
    }
    object
}

fn set_annotation(object: &mut Value, key: &str, value: &Value) {
    let annotations = tree::make(tree::make(object, "metadata"), "annotations");
    tree::set(annotations, key, value.to_string());
}

/// The storage form as a v1 object.
pub(super) fn from_stored(object: &mut Value) {
    let spec = tree::make(object, "spec");
    let metrics = tree::remove(spec, "metrics").unwrap_or_default();
    let behavior = tree::remove(spec, "behavior").filter(|behavior| !behavior.is_null());
    let metrics = metrics.as_array().cloned().unwrap_or_default();
    let cpu = metrics.iter().position(|metric| is_cpu_utilization(metric, "target"));
    if let Some(percent) =
        cpu.and_then(|at| metrics[at].pointer("/resource/target/averageUtilization").cloned())
    {
        tree::set(spec, "targetCPUUtilizationPercentage", percent);
    }
    let others = metrics.iter().enumerate().filter(|(index, _)| Some(*index) != cpu);
    let others: Vec<Value> = others.map(|(_, metric)| metric_to_v1(metric, "target")).collect();
    if !others.is_empty() {
        set_annotation(object, METRICS, &others.into());
    }
    if let Some(behavior) = behavior {
        set_annotation(object, BEHAVIOR, &behavior);
    }
    status_from_stored(object);
}

fn status_from_stored(object: &mut Value) {
    let Some(status) = tree::child(object, "status") else { return };
    let metrics = tree::remove(status, "currentMetrics").unwrap_or_default();
    let conditions =
        tree::remove(status, "conditions").filter(|conditions| !tree::is_zero(conditions));
    let metrics = metrics.as_array().cloned().unwrap_or_default();
    let cpu = metrics.iter().find(|metric| is_cpu_utilization(metric, "current"));
    if let Some(percent) =
        cpu.and_then(|metric| metric.pointer("/resource/current/averageUtilization").cloned())
    {
        tree::set(status, "currentCPUUtilizationPercentage", percent);
    }
    let all: Vec<Value> = metrics.iter().map(|metric| metric_to_v1(metric, "current")).collect();
    if !all.is_empty() {
        set_annotation(object, STATUSES, &all.into());
    }
    if let Some(conditions) = conditions {
        set_annotation(object, CONDITIONS, &conditions);
    }
}
