//! ClusterRoles that gather the rules of others.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

use crate::labels;

/// The rules an aggregated role should have; `None` when it gathers nothing or has them.
pub fn decide(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_ref()?;
    let mut sources: Vec<&Arc<ClusterRole>> = all
        .iter()
        .filter(|other| other.metadata.name != role.metadata.name)
        .filter(|other| {
            let have = other.metadata.labels.as_ref();
            selectors.iter().any(|selector| labels::matches(selector, have))
        })
        .collect();
    sources.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in sources.iter().flat_map(|source| source.rules.iter().flatten()) {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    let have = role.rules.as_deref().unwrap_or_default();
    (have != rules).then_some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn role(value: Value) -> Arc<ClusterRole> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn rules_are_gathered_once_and_in_order() {
        let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
        let source = |name: &str, verbs: &[&str], label: &str| {
            let rules: Vec<Value> = verbs.iter().map(|verb| rule(verb)).collect();
            role(json!({"metadata": {"name": name, "labels": {"to": label}}, "rules": rules}))
        };
        let target = role(json!({"metadata": {"name": "t", "labels": {"to": "t"}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "t"}}]},
            "rules": [rule("old")]}));
        let all = [
            source("b", &["watch", "get"], "t"),
            source("a", &["get"], "t"),
            source("c", &["delete"], "other"),
            Arc::clone(&target),
        ];
        let verbs = |rules: Vec<PolicyRule>| -> Vec<String> {
            rules.into_iter().flat_map(|rule| rule.verbs).collect()
        };
        assert_eq!(verbs(decide(&target, &all).unwrap()), ["get", "watch"]);
        assert_eq!(decide(&all[0], &all), None);
        assert_eq!(decide(&target, &[]), Some(vec![]));
    }
}
