//! Where a pod may go beside affinity: tolerations, spreading, gates.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;

use super::super::check::{At, Faults};
use super::super::tree;
use crate::name;

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];

/// The effect of a taint or toleration.
pub(in super::super) fn taint_effect(at: &At<'_>, is_empty_fine: bool, faults: &mut Faults) {
    match at.text() {
        "" if is_empty_fine => {}
        "" => faults.required(at, ""),
        effect if EFFECTS.contains(&effect) => {}
        _ => faults.not_supported(at, &EFFECTS),
    }
}

/// `tolerations` of a spec.
pub(in super::super) fn tolerations(at: &At<'_>, faults: &mut Faults) {
    for toleration in at.items() {
        check_toleration(&toleration, faults);
    }
}

fn check_toleration(at: &At<'_>, faults: &mut Faults) {
    let (key, operator, effect) = (at.get("key"), at.get("operator"), at.get("effect"));
    let value = at.get("value").text();
    if !key.is_zero() {
        faults.qualified(&key);
    } else if operator.text() != "Exists" {
        faults.invalid_as(
            &operator,
            operator.text(),
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        );
    }
    if at.get("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
        faults.invalid_as(
            &effect,
            effect.text(),
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        );
    }
    match operator.text() {
        "" | "Equal" => {
            if let Err(fault) = name::label_value(value) {
                faults.invalid_as(&operator, value, fault);
            }
        }
        "Exists" if value.is_empty() => {}
        "Exists" => {
            faults.invalid_as(&operator, value, "value must be empty when `operator` is 'Exists'");
        }
        "Gt" | "Lt" if value.parse::<i64>().is_ok() => {}
        _ => faults.not_supported(&operator, &["Equal", "Exists"]),
    }
    taint_effect(&effect, true, faults);
}

/// `schedulingGates` of a spec.
pub(super) fn scheduling_gates(at: &At<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for gate in at.items() {
        let own_name = gate.get("name").text();
        faults.qualified_as(&gate, own_name, own_name);
        if !seen.insert(own_name) {
            let shown = json!(own_name);
            faults.duplicate(&At { value: &shown, path: gate.path });
        }
    }
}

/// `topologySpreadConstraints` of a spec.
pub(super) fn spread_constraints(at: &At<'_>, faults: &mut Faults) {
    let mut last = HashMap::new();
    for (index, constraint) in at.items().enumerate() {
        last.insert(spread_key(&constraint), index);
    }
    for (index, constraint) in at.items().enumerate() {
        spread_constraint(&constraint, faults);
        let own = spread_key(&constraint);
        if last.get(&own).is_some_and(|last| *last > index) {
            let shown = json!(format!("{{{}, {}}}", own.0, own.1));
            let path = constraint.named("{topologyKey, whenUnsatisfiable}").path;
            faults.duplicate(&At { value: &shown, path });
        }
        label_keys(&constraint, faults);
    }
}

/// What may occur once among the constraints.
fn spread_key<'a>(at: &At<'a>) -> (&'a str, &'a str) {
    (at.get("topologyKey").text(), at.get("whenUnsatisfiable").text())
}

fn spread_constraint(at: &At<'_>, faults: &mut Faults) {
    let (skew, domains) = (at.get("maxSkew"), at.get("minDomains"));
    if skew.int().unwrap_or_default() <= 0 {
        faults.invalid_as(&skew, skew.int().unwrap_or_default(), "must be greater than zero");
    }
    if at.get("topologyKey").is_zero() {
        faults.required(&at.get("topologyKey"), "can not be empty");
    }
    let action = at.get("whenUnsatisfiable");
    if !matches!(action.text(), "DoNotSchedule" | "ScheduleAnyway") {
        let shown = json!(action.text());
        let place = At { value: &shown, path: action.path.clone() };
        faults.not_supported(&place, &["DoNotSchedule", "ScheduleAnyway"]);
    }
    if domains.int().is_some_and(|count| count <= 0) {
        faults.invalid(&domains, "must be greater than zero");
    }
    if domains.is_set() && action.text() != "DoNotSchedule" {
        let text = format!(
            "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
            action.text()
        );
        faults.invalid(&domains, text);
    }
    for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        faults.optional_one_of(&at.get(policy), &["Honor", "Ignore"]);
    }
    faults.label_selector(&at.get("labelSelector"));
}

fn label_keys(at: &At<'_>, faults: &mut Faults) {
    let (keys, selector) = (at.get("matchLabelKeys"), at.get("labelSelector"));
    if keys.len() == 0 {
        return;
    }
    if !selector.is_set() {
        faults.forbidden(&keys, "must not be specified when labelSelector is not set");
    }
    let selected: BTreeSet<&str> = tree::entries(selector.value, "/matchLabels")
        .map(|(key, _)| key.as_str())
        .chain(selector.get("matchExpressions").items().map(|e| e.get("key").text()))
        .collect();
    for key in keys.items() {
        faults.qualified(&key);
        if selected.contains(key.text()) {
            faults.invalid(&key, "exists in both matchLabelKeys and labelSelector");
        }
    }
}
