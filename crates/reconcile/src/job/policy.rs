//! Pod failure policies: what a failed pod means for its Job. Success policies: when enough succeeded.

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::indexes::Indexes;

/// What a failed pod means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts towards the limits.
    Count,
    /// It does not count.
    Ignore,
    /// It counts, and its index has failed.
    FailIndex,
    /// It counts, and the Job has failed for this reason.
    FailJob(String),
}

/// What a failed pod means by its Job's policy.
pub fn judge(spec: &JobSpec, pod: &Pod) -> Verdict {
    let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (index, rule) in rules.enumerate() {
        let Some(evidence) = evidence(rule, pod) else { continue };
        match rule.action.as_str() {
            "Ignore" => return Verdict::Ignore,
            "FailIndex" => return Verdict::FailIndex,
            "Count" => return Verdict::Count,
            "FailJob" => {
                let message = format!("{evidence} matching FailJob rule at index {index}");
                return Verdict::FailJob(message);
            }
            _ => {}
        }
    }
    Verdict::Count
}

fn evidence(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    if let Some(requirement) = &rule.on_exit_codes {
        let regular = status.container_statuses.iter().flatten();
        let mut all = regular.chain(status.init_container_statuses.iter().flatten());
        let (container, code) = all.find_map(|container| fits(container, requirement))?;
        return Some(format!(
            "Container {container} for pod {namespace}/{name} failed with exit code {code}"
        ));
    }
    let patterns = rule.on_pod_conditions.as_ref()?;
    let condition = status.conditions.iter().flatten().find(|condition| {
        patterns.iter().any(|pattern| {
            pattern.type_ == condition.type_
                && pattern.status.as_deref().unwrap_or("True") == condition.status
        })
    })?;
    Some(format!("Pod {namespace}/{name} has condition {}", condition.type_))
}

fn fits<'a>(
    container: &'a ContainerStatus,
    requirement: &PodFailurePolicyOnExitCodesRequirement,
) -> Option<(&'a str, i32)> {
    let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
    let meant = requirement.container_name.as_ref().is_none_or(|name| *name == container.name);
    let listed = requirement.values.contains(&code);
    let fits = match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    };
    (meant && code != 0 && fits).then_some((container.name.as_str(), code))
}

/// Why a Job has succeeded before all its indexes did; `None` when it has not.
pub fn succeeded_early(
    policy: Option<&SuccessPolicy>,
    completions: i32,
    succeeded: &Indexes,
) -> Option<String> {
    let rules = &policy?.rules;
    if succeeded.is_empty() {
        return None;
    }
    let index = rules.iter().position(|rule| match &rule.succeeded_indexes {
        Some(text) => {
            let required = Indexes::parse(text, completions);
            let common = required.common(succeeded);
            !required.is_empty()
                && (common == required.total()
                    || rule.succeeded_count.is_some_and(|count| common >= count))
        }
        None => rule.succeeded_count.is_some_and(|count| succeeded.total() >= count),
    })?;
    Some(format!("Matched rules at index {index}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(code: i32, condition: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n"},
            "status": {
                "conditions": [{"type": condition, "status": "True"}],
                "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
                    "restartCount": 0, "state": {"terminated": {"exitCode": code}}}],
            },
        }))
        .unwrap()
    }

    fn spec(rules: serde_json::Value) -> JobSpec {
        serde_json::from_value(json!({"template": {}, "podFailurePolicy": {"rules": rules}}))
            .unwrap()
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = json!([
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [1, 42]}},
        ]);
        let message =
            "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 1";
        let cases = [
            (pod(42, "DisruptionTarget"), Verdict::Ignore),
            (pod(42, "Other"), Verdict::FailJob(message.to_owned())),
            (pod(7, "Other"), Verdict::FailIndex),
            (pod(1, "Other"), Verdict::Count),
            (pod(0, "Other"), Verdict::Count),
        ];
        for (pod, expected) in cases {
            assert_eq!(judge(&spec(rules.clone()), &pod), expected);
        }
    }

    #[test]
    fn enough_successes_are_enough() {
        let policy = |rule: serde_json::Value| -> SuccessPolicy {
            serde_json::from_value(json!({"rules": [rule]})).unwrap()
        };
        let done = Indexes::parse("0,2-3", 10);
        let cases = [
            (json!({"succeededIndexes": "0,2"}), true),
            (json!({"succeededIndexes": "0,1"}), false),
            (json!({"succeededIndexes": "0-9", "succeededCount": 3}), true),
            (json!({"succeededIndexes": "0-9", "succeededCount": 4}), false),
            (json!({"succeededCount": 3}), true),
        ];
        for (rule, expected) in cases {
            let reason = succeeded_early(Some(&policy(rule.clone())), 10, &done);
            assert_eq!(reason.is_some(), expected, "{rule}");
        }
        assert_eq!(succeeded_early(None, 10, &done), None);
    }
}
