//! Emptying a namespace that is being deleted: what the conditions say of the work left.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What one round of emptying found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Failures to find out which resources there are.
    pub discovery_failures: Vec<String>,
    /// Failures to delete.
    pub deletion_failures: Vec<String>,
    /// Resources with objects left: `plural.group` and how many.
    pub remaining: Vec<(String, usize)>,
    /// Finalizers that hold objects back, and how many objects each.
    pub finalizers: Vec<(String, usize)>,
}

impl Findings {
    /// Whether nothing is left and nothing went wrong.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The namespace's conditions after a round; those that did not change keep their time.
pub fn conditions(
    findings: &Findings,
    before: &[NamespaceCondition],
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let counted = |list: &[(String, usize)], say: &dyn Fn(&str, usize) -> String| {
        let mut parts: Vec<String> = list.iter().map(|(name, count)| say(name, *count)).collect();
        parts.sort_unstable();
        parts.join(", ")
    };
    let remaining = counted(&findings.remaining, &|name, count| {
        format!("{name} has {count} resource instances")
    });
    let finalizers = counted(&findings.finalizers, &|name, count| {
        format!("{name} in {count} resource instances")
    });
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            (!findings.discovery_failures.is_empty()).then(|| {
                (
                    "DiscoveryFailed",
                    format!(
                        "Discovery failed for some groups, {} failing: {}",
                        findings.discovery_failures.len(),
                        findings.discovery_failures.join(", ")
                    ),
                )
            }),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            (!findings.deletion_failures.is_empty()).then(|| {
                (
                    "ContentDeletionFailed",
                    format!(
                        "Failed to delete all resource types, {} remaining: {}",
                        findings.deletion_failures.len(),
                        findings.deletion_failures.join(", ")
                    ),
                )
            }),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            (!findings.remaining.is_empty()).then(|| {
                ("SomeResourcesRemain", format!("Some resources are remaining: {remaining}"))
            }),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            (!findings.finalizers.is_empty()).then(|| {
                (
                    "SomeFinalizersRemain",
                    format!("Some content in the namespace has finalizers remaining: {finalizers}"),
                )
            }),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    rows.into_iter()
        .map(|(kind, fault, fine)| {
            let (status, reason, message) = match fault {
                Some((reason, message)) => ("True", reason, message),
                None => ("False", fine.0, fine.1.to_owned()),
            };
            let old = before.iter().find(|condition| condition.type_ == kind);
            let since = old
                .filter(|old| old.status == status)
                .and_then(|old| old.last_transition_time.clone())
                .unwrap_or(Time(now));
            NamespaceCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_transition_time: Some(since),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_said() {
        let findings = Findings {
            remaining: vec![("pods.".into(), 2)],
            finalizers: vec![("x/y".into(), 1)],
            ..Findings::default()
        };
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let conditions = conditions(&findings, &[], now);
        let shown: Vec<(String, String)> = conditions
            .into_iter()
            .filter(|c| c.status == "True")
            .map(|c| (c.type_, c.message.unwrap()))
            .collect();
        assert_eq!(
            shown,
            [
                (
                    "NamespaceContentRemaining".to_owned(),
                    "Some resources are remaining: pods. has 2 resource instances".to_owned()
                ),
                (
                    "NamespaceFinalizersRemaining".to_owned(),
                    "Some content in the namespace has finalizers remaining: x/y in 1 resource instances".to_owned()
                ),
            ]
        );
    }
}
