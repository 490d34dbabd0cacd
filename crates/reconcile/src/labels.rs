//! Label selectors of API objects, applied to labels.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Labels as objects carry them.
pub type Labels = BTreeMap<String, String>;

/// Whether a selector admits labels. An empty selector admits everything; a requirement with an unknown
/// operator admits nothing, as it cannot be known what was meant.
pub fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let exact = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    exact.into_iter().all(|(key, wanted)| value(key) == Some(wanted))
        && expressions.into_iter().all(|requirement| {
            let have = value(&requirement.key);
            let listed = |have: &str| requirement.values.iter().flatten().any(|v| v == have);
            match requirement.operator.as_str() {
                "In" => have.is_some_and(listed),
                "NotIn" => !have.is_some_and(listed),
                "Exists" => have.is_some(),
                "DoesNotExist" => have.is_none(),
                _ => false,
            }
        })
}

/// Whether a selector admits everything.
pub fn is_everything(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// Whether every one of `wanted` is among `labels`.
pub fn contains(labels: Option<&Labels>, wanted: Option<&Labels>) -> bool {
    wanted
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_admit_what_upstream_admits() {
        let cases = [
            (json!({}), json!({"a": "b"}), true),
            (json!({"matchLabels": {"a": "b"}}), json!({"a": "b", "c": "d"}), true),
            (json!({"matchLabels": {"a": "b"}}), json!({"a": "x"}), false),
            (json!({"matchLabels": {"a": "b"}}), json!({}), false),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}),
                json!({"a": "b"}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}),
                json!({}),
                true,
            ),
            (json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}), json!({}), false),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}),
                json!({}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}),
                json!({"a": "b"}),
                false,
            ),
        ];
        for (selector, labels, expected) in cases {
            let parsed: LabelSelector = serde_json::from_value(selector.clone()).unwrap();
            let have: Labels = serde_json::from_value(labels.clone()).unwrap();
            assert_eq!(matches(&parsed, Some(&have)), expected, "{selector} on {labels}");
        }
    }
}
