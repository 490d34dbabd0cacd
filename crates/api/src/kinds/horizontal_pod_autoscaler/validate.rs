//! Checks of the storage form's spec.

use crate::kinds::amounts;
use crate::kinds::check::{At, Faults};
use crate::kinds::pod_spec::containers;
use crate::name;
use crate::quantity::Quantity;

const PERIOD_SECONDS_MAX: i64 = 1800;
const WINDOW_SECONDS_MAX: i64 = 3600;
const KINDS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// Checks a spec, whose `minReplicas` is at least `least`.
pub(super) fn spec(at: &At<'_>, least: i64, faults: &mut Faults) {
    let (min, max) = (at.get("minReplicas"), at.get("maxReplicas"));
    let most = max.int().unwrap_or_default();
    if min.int().is_some_and(|min| min < least) {
        faults.invalid(&min, format!("must be greater than or equal to {least}"));
    }
    if most < 1 {
        faults.invalid_as(&max, most, "must be greater than 0");
    }
    if min.int().is_some_and(|min| most < min) {
        faults.invalid_as(&max, most, "must be greater than or equal to `minReplicas`");
    }
    reference(&at.get("scaleTargetRef"), faults);
    let metrics = at.get("metrics");
    for place in metrics.items() {
        metric(&place, faults);
    }
    let can_wake =
        metrics.items().any(|metric| matches!(metric.get("type").text(), "Object" | "External"));
    if min.int() == Some(0) && !can_wake {
        faults.forbidden(&metrics, "must specify at least one Object or External metric to support scaling to zero replicas");
    }
    for rules in ["scaleUp", "scaleDown"] {
        let rules = at.get2("behavior", rules);
        if rules.is_set() {
            scaling_rules(&rules, faults);
        }
    }
}

fn reference(at: &At<'_>, faults: &mut Faults) {
    faults.required_rule(&at.get("kind"), name::path_segment);
    faults.required_rule(&at.get("name"), name::path_segment);
}

fn scaling_rules(at: &At<'_>, faults: &mut Faults) {
    let (window, policies) = (at.get("stabilizationWindowSeconds"), at.get("policies"));
    if window.int().is_some_and(|seconds| seconds < 0) {
        faults.invalid(&window, "must be greater than or equal to zero");
    }
    if window.int().is_some_and(|seconds| seconds > WINDOW_SECONDS_MAX) {
        faults.invalid(&window, format!("must be less than or equal to {WINDOW_SECONDS_MAX}"));
    }
    faults.optional_one_of(&at.get("selectPolicy"), &["Disabled", "Max", "Min"]);
    if policies.len() == 0 {
        faults.required(&policies, "must specify at least one Policy");
    }
    for policy in policies.items() {
        let (kind, period) = (policy.get("type"), policy.get("periodSeconds"));
        if !matches!(kind.text(), "Pods" | "Percent") {
            faults.not_supported(&kind, &["Percent", "Pods"]);
        }
        for field in ["value", "periodSeconds"] {
            let number = policy.get(field).int().unwrap_or_default();
            if number <= 0 {
                faults.invalid_as(&policy.get(field), number, "must be greater than zero");
            }
        }
        if period.int().is_some_and(|seconds| seconds > PERIOD_SECONDS_MAX) {
            faults.invalid(&period, format!("must be less than or equal to {PERIOD_SECONDS_MAX}"));
        }
    }
}

fn metric(at: &At<'_>, faults: &mut Faults) {
    let kind = at.get("type");
    let kinds = KINDS.map(|(kind, _)| kind);
    let expected = KINDS.iter().find(|(name, _)| *name == kind.text()).map(|(_, field)| *field);
    if kind.is_zero() {
        faults.required(&kind, "must specify a metric source type");
    }
    if expected.is_none() {
        faults.not_supported(&kind, &kinds);
    }
    let order = ["object", "external", "pods", "resource", "containerResource"];
    let present: Vec<&str> = order.into_iter().filter(|field| at.get(field).is_set()).collect();
    if let Some(first) = present.first() {
        source(first, &at.get(first), faults);
    }
    match expected.map(|expected| at.get(expected)) {
        Some(place) if !place.is_set() => {
            faults.required(&place, "must populate information for the given metric source");
        }
        Some(_) => {}
        None => faults.not_supported(&kind, &kinds),
    }
    if present.len() != 1 {
        for field in present.iter().filter(|field| Some(**field) != expected) {
            faults.forbidden(&at.get(field), "must populate the given metric source only");
        }
    }
}

fn source(kind: &str, at: &At<'_>, faults: &mut Faults) {
    let target = at.get("target");
    let has = |field: &str| target.get(field).is_set();
    match kind {
        "object" => reference(&at.get("describedObject"), faults),
        "resource" | "containerResource" if at.get("name").is_zero() => {
            faults.required(&at.get("name"), "must specify a resource name");
        }
        _ => {}
    }
    if kind == "containerResource" {
        let resource = at.get("name");
        if !resource.is_zero() {
            containers::resource_name(&resource, resource.text(), true, faults);
        }
        if at.get("container").is_zero() {
            faults.required(&at.get("container"), "must specify a container");
        } else {
            faults.rule(&at.get("container"), name::label);
        }
    }
    if matches!(kind, "object" | "external" | "pods") {
        identifier(&at.get("metric"), faults);
    }
    check_target(&target, faults);
    let is_valued = has("value") || has("averageValue");
    match kind {
        "object" if !is_valued => faults.required(
            &target.get("averageValue"),
            "must set either a target value or averageValue",
        ),
        "external" if !is_valued => faults.required(
            &target.get("averageValue"),
            "must set either a target value for metric or a per-pod target",
        ),
        "external" if has("value") && has("averageValue") => faults.forbidden(
            &target.get("value"),
            "may not set both a target value for metric and a per-pod target",
        ),
        "pods" if !has("averageValue") => faults
            .required(&target.get("averageValue"), "must specify a positive target averageValue"),
        "resource" | "containerResource" => resource_target(&target, faults),
        _ => {}
    }
}

fn resource_target(target: &At<'_>, faults: &mut Faults) {
    let (percent, value) = (target.get("averageUtilization"), target.get("averageValue"));
    match (percent.is_set(), value.is_set()) {
        (false, false) => {
            faults.required(&percent, "must set either a target raw value or a target utilization")
        }
        (true, true) => {
            faults.forbidden(&value, "may not set both a target raw value and a target utilization")
        }
        _ => {}
    }
}

fn identifier(at: &At<'_>, faults: &mut Faults) {
    let own_name = at.get("name");
    if own_name.is_zero() {
        faults.required(&own_name, "must specify a metric name");
    } else {
        faults.rule(&own_name, name::path_segment);
    }
}

fn check_target(at: &At<'_>, faults: &mut Faults) {
    let kind = at.get("type");
    if kind.is_zero() {
        faults.required(&kind, "must specify a metric target type");
    }
    if !matches!(kind.text(), "Utilization" | "Value" | "AverageValue") {
        faults.invalid_as(&kind, kind.text(), "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        let place = at.get(field);
        if place.is_set() && amounts::read(&place).is_none_or(|amount| amount <= Quantity::ZERO) {
            faults.invalid(&place, "must be positive");
        }
    }
    let percent = at.get("averageUtilization");
    if percent.int().is_some_and(|percent| percent < 1) {
        faults.invalid(&percent, "must be greater than 0");
    }
}
