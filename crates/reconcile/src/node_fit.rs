//! Whether a node is one that a pod asks for and may stand: selectors, required affinity, taints.

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

use crate::labels;

/// Whether a pod's node selector and required node affinity admit a node.
pub fn wants(spec: &PodSpec, node: &Node) -> bool {
    let have = node.metadata.labels.as_ref();
    if !labels::contains(have, spec.node_selector.as_ref()) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    required
        .is_none_or(|selector| selector.node_selector_terms.iter().any(|term| admits(term, node)))
}

fn admits(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let label = |key: &str| {
        node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str)
    };
    let field = |key: &str| match key {
        "metadata.name" => node.metadata.name.as_deref(),
        _ => None,
    };
    // A term without requirements admits nothing.
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|requirement| holds(requirement, label(&requirement.key)))
        && fields.iter().all(|requirement| holds(requirement, field(&requirement.key)))
}

fn holds(requirement: &NodeSelectorRequirement, have: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = have.is_some_and(|have| values.iter().any(|value| value == have));
    let number = have.and_then(|have| have.parse::<i64>().ok());
    let bound = values.first().and_then(|value| value.parse::<i64>().ok());
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => have.is_some(),
        "DoesNotExist" => have.is_none(),
        "Gt" => matches!((number, bound), (Some(number), Some(bound)) if number > bound),
        "Lt" => matches!((number, bound), (Some(number), Some(bound)) if number < bound),
        _ => false,
    }
}

/// The first of a node's taints with one of `effects` that is not tolerated.
pub fn untolerated<'a>(
    tolerations: &[Toleration],
    taints: &'a [Taint],
    effects: &[&str],
) -> Option<&'a Taint> {
    let felt = taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
    felt.into_iter().find(|taint| !tolerations.iter().any(|t| tolerates(t, taint)))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    let exists = toleration.operator.as_deref() == Some("Exists");
    (effect.is_empty() || effect == taint.effect)
        && (key == taint.key || (key.is_empty() && exists))
        && (exists || text(&toleration.value) == text(&taint.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_are_chosen_by_labels_and_names() {
        let node: Node = serde_json::from_value(
            json!({"metadata": {"name": "n1", "labels": {"disk": "ssd", "cores": "8"}}}),
        )
        .unwrap();
        let term = |expression: serde_json::Value| {
            json!({"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [expression]}}},
            "containers": []})
        };
        let label = |key: &str, operator: &str, value: &str| {
            term(
                json!({"matchExpressions": [{"key": key, "operator": operator, "values": [value]}]}),
            )
        };
        let name = |name: &str| {
            term(json!({"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": [name]}]}))
        };
        let cases = [
            (json!({"containers": []}), true),
            (json!({"nodeSelector": {"disk": "ssd"}, "containers": []}), true),
            (json!({"nodeSelector": {"disk": "hdd"}, "containers": []}), false),
            (label("disk", "In", "ssd"), true),
            (label("disk", "NotIn", "ssd"), false),
            (label("cores", "Gt", "4"), true),
            (label("cores", "Lt", "4"), false),
            (name("n1"), true),
            (name("n2"), false),
            (term(json!({})), false),
        ];
        for (spec, expected) in cases {
            let parsed: PodSpec = serde_json::from_value(spec.clone()).unwrap();
            assert_eq!(wants(&parsed, &node), expected, "{spec}");
        }
    }

    #[test]
    fn a_taint_is_felt_unless_tolerated() {
        let taint = |effect: &str| Taint {
            key: "k".into(),
            value: Some("v".into()),
            effect: effect.into(),
            time_added: None,
        };
        let tolerate = |value: serde_json::Value| -> Vec<Toleration> {
            vec![serde_json::from_value(value).unwrap()]
        };
        let taints = [taint("NoSchedule")];
        let cases = [
            (vec![], true),
            (tolerate(json!({"operator": "Exists"})), false),
            (tolerate(json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"})), false),
            (tolerate(json!({"key": "k", "operator": "Exists", "effect": "NoExecute"})), true),
            (tolerate(json!({"key": "k", "value": "v"})), false),
            (tolerate(json!({"key": "k", "value": "w"})), true),
        ];
        for (tolerations, expected) in cases {
            let felt = untolerated(&tolerations, &taints, &["NoSchedule"]).is_some();
            assert_eq!(felt, expected, "{tolerations:?}");
        }
        assert!(untolerated(&[], &taints, &["NoExecute"]).is_none());
    }
}
