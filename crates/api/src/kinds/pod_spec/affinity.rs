//! Affinity: which nodes and neighbours a pod wants.

use serde_json::{Value, json};

use super::super::check::{At, Faults};
use super::super::tree::{at_mut, each, make, texts};
use crate::name;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The four lists of pod affinity terms, and whether the term is wrapped with a weight.
const TERM_LISTS: [(&str, &str, bool); 4] = [
    ("podAffinity", REQUIRED, false),
    ("podAffinity", PREFERRED, true),
    ("podAntiAffinity", REQUIRED, false),
    ("podAntiAffinity", PREFERRED, true),
];

/// Turns `matchLabelKeys` and `mismatchLabelKeys` into requirements with the new pod's own label values.
pub(in super::super) fn apply_match_label_keys(spec: &mut Value, labels: &Value) {
    for (affinity, list, is_weighted) in TERM_LISTS {
        let Some(affinity) = at_mut(spec, &format!("/affinity/{affinity}")) else { continue };
        each(affinity, list, |term| match is_weighted {
            true => {
                if let Some(term) = at_mut(term, "/podAffinityTerm") {
                    apply_to_term(term, labels);
                }
            }
            false => apply_to_term(term, labels),
        });
    }
}

fn apply_to_term(term: &mut Value, labels: &Value) {
    if term.get("labelSelector").is_none_or(Value::is_null) {
        return;
    }
    let mut requirements = Vec::new();
    for (keys, operator) in [("/matchLabelKeys", "In"), ("/mismatchLabelKeys", "NotIn")] {
        for key in texts(term, keys) {
            if let Some(value) = labels.get(key) {
                requirements.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if requirements.is_empty() {
        return;
    }
    let selector = make(term, "labelSelector");
    let expressions = crate::meta::child_mut(selector, "matchExpressions");
    if let Value::Array(list) = expressions {
        list.extend(requirements);
    } else {
        *expressions = requirements.into();
    }
}

/// `affinity` of a spec.
pub(super) fn validate(at: &At<'_>, faults: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let node = at.get("nodeAffinity");
    let required = node.get(REQUIRED);
    if required.is_set() {
        node_selector(&required, faults);
    }
    for term in node.get(PREFERRED).items() {
        weight(&term, faults);
        node_selector_term(&term.get("preference"), faults);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        for term in at.get(kind).get(REQUIRED).items() {
            pod_term(&term, faults);
        }
        for term in at.get(kind).get(PREFERRED).items() {
            weight(&term, faults);
            pod_term(&term.get("podAffinityTerm"), faults);
        }
    }
}

/// `nodeAffinity` of a persistent volume.
pub(in super::super) fn volume_node_affinity(at: &At<'_>, faults: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let required = at.get("required");
    if required.is_set() {
        node_selector(&required, faults);
    } else {
        faults.required(&required, "must specify required node constraints");
    }
}

fn weight(at: &At<'_>, faults: &mut Faults) {
    let weight = at.get("weight");
    if !(1..=100).contains(&weight.int().unwrap_or_default()) {
        faults.invalid_as(&weight, weight.int().unwrap_or_default(), "must be in the range 1-100");
    }
}

fn node_selector(at: &At<'_>, faults: &mut Faults) {
    let terms = at.get("nodeSelectorTerms");
    if terms.len() == 0 {
        faults.required(&terms, "must have at least one node selector term");
    }
    for term in terms.items() {
        node_selector_term(&term, faults);
    }
}

fn node_selector_term(at: &At<'_>, faults: &mut Faults) {
    for requirement in at.get("matchExpressions").items() {
        label_requirement(&requirement, faults);
    }
    for requirement in at.get("matchFields").items() {
        field_requirement(&requirement, faults);
    }
}

fn label_requirement(at: &At<'_>, faults: &mut Faults) {
    let (operator, values) = (at.get("operator"), at.get("values"));
    match (operator.text(), values.len()) {
        ("In" | "NotIn", 0) => {
            faults.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        ("Exists" | "DoesNotExist", 1..) => faults.forbidden(
            &values,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        ("Gt" | "Lt", 0 | 2..) => faults
            .required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'"),
        ("In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt", _) => {}
        _ => faults.invalid_as(&operator, operator.text(), "not a valid selector operator"),
    }
    faults.qualified(&at.get("key"));
}

fn field_requirement(at: &At<'_>, faults: &mut Faults) {
    let (operator, values, key) = (at.get("operator"), at.get("values"), at.get("key"));
    match operator.text() {
        "In" | "NotIn" if values.len() != 1 => faults.required(
            &values,
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        ),
        "In" | "NotIn" => {}
        _ => faults.invalid_as(&operator, operator.text(), "not a valid selector operator"),
    }
    if key.text() == "metadata.name" {
        for value in values.items() {
            faults.rule(&value, name::subdomain);
        }
    } else {
        faults.invalid_as(&key, key.text(), "not a valid field selector key");
    }
}

fn pod_term(at: &At<'_>, faults: &mut Faults) {
    faults.label_selector(&at.get("labelSelector"));
    faults.label_selector(&at.get("namespaceSelector"));
    for namespace in at.get("namespaces").items() {
        if let Err(fault) = name::label(namespace.text()) {
            faults.invalid_as(&at.named("namespace"), namespace.text(), fault);
        }
    }
    for keys in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = at.get(keys);
        if keys.len() > 0 && !at.get("labelSelector").is_set() {
            faults.forbidden(&keys, "must not be specified when labelSelector is not set");
        }
        for key in keys.items() {
            faults.qualified(&key);
        }
    }
    let mismatched = texts(at.value, "/mismatchLabelKeys");
    for key in at.get("matchLabelKeys").items() {
        if mismatched.contains(&key.text()) {
            faults.invalid(&key, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
    if at.get("topologyKey").is_zero() {
        faults.required(&at.get("topologyKey"), "can not be empty");
    }
    faults.qualified(&at.get("topologyKey"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn label_keys_become_requirements() {
        let mut spec = json!({"affinity": {"podAntiAffinity": {REQUIRED: [
            {"labelSelector": {}, "matchLabelKeys": ["a", "missing"], "topologyKey": "z"}]}}});
        apply_match_label_keys(&mut spec, &json!({"a": "1"}));
        assert_eq!(
            spec["affinity"]["podAntiAffinity"][REQUIRED][0]["labelSelector"],
            json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]})
        );
    }

    #[test]
    fn faults_read_as_upstreams() {
        let affinity = json!({
            "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "a", "operator": "Gt", "values": []}], "matchFields": [
                {"key": "x", "operator": "In", "values": ["n"]}]}]}},
            "podAffinity": {PREFERRED: [{"weight": 0, "podAffinityTerm": {}}]}});
        let mut faults = Faults::default();
        validate(&At::root(&affinity), &mut faults);
        assert!(show(&faults.0).starts_with(&format!(
            "nodeAffinity.{REQUIRED}.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'\n\
             nodeAffinity.{REQUIRED}.nodeSelectorTerms[0].matchFields[0].key: Invalid value: \"x\": not a valid field selector key\n\
             podAffinity.{PREFERRED}[0].weight: Invalid value: 0: must be in the range 1-100\n\
             podAffinity.{PREFERRED}[0].podAffinityTerm.topologyKey: Required value: can not be empty\n"
        )));
    }
}
