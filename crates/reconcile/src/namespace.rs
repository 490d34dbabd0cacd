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
    ROWS.iter()
        .map(|row| {
            let (status, reason, message) = match (row.fault)(findings) {
                Some(message) => ("True", row.fault_reason, message),
                None => ("False", row.fine.0, row.fine.1.to_owned()),
            };
            let old = before.iter().find(|condition| condition.type_ == row.kind);
            let since = old
                .filter(|old| old.status == status)
                .and_then(|old| old.last_transition_time.clone())
                .unwrap_or(Time(now));
            NamespaceCondition {
                type_: row.kind.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_transition_time: Some(since),
            }
        })
        .collect()
}

/// One condition: when it holds, and what it says otherwise.
struct Row {
    kind: &'static str,
    fault_reason: &'static str,
    /// The message, where there is a fault.
    fault: fn(&Findings) -> Option<String>,
    /// Reason and message where there is none.
    fine: (&'static str, &'static str),
}

const ROWS: [Row; 5] = [
    Row {
        kind: "NamespaceDeletionDiscoveryFailure",
        fault_reason: "DiscoveryFailed",
        fault: |findings| {
            let failures = &findings.discovery_failures;
            (!failures.is_empty()).then(|| {
                let (count, list) = (failures.len(), failures.join(", "));
                format!("Discovery failed for some groups, {count} failing: {list}")
            })
        },
        fine: ("ResourcesDiscovered", "All resources successfully discovered"),
    },
    Row {
        kind: "NamespaceDeletionGroupVersionParsingFailure",
        fault_reason: "GroupVersionParsingFailed",
        fault: |_| None,
        fine: ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    },
    Row {
        kind: "NamespaceDeletionContentFailure",
        fault_reason: "ContentDeletionFailed",
        fault: |findings| {
            let failures = &findings.deletion_failures;
            (!failures.is_empty()).then(|| {
                let (count, list) = (failures.len(), failures.join(", "));
                format!("Failed to delete all resource types, {count} remaining: {list}")
            })
        },
        fine: (
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
    },
    Row {
        kind: "NamespaceContentRemaining",
        fault_reason: "SomeResourcesRemain",
        fault: |findings| {
            let remaining = counted(&findings.remaining, "has")?;
            Some(format!("Some resources are remaining: {remaining}"))
        },
        fine: ("ContentRemoved", "All content successfully removed"),
    },
    Row {
        kind: "NamespaceFinalizersRemaining",
        fault_reason: "SomeFinalizersRemain",
        fault: |findings| {
            let finalizers = counted(&findings.finalizers, "in")?;
            Some(format!("Some content in the namespace has finalizers remaining: {finalizers}"))
        },
        fine: ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
    },
];

/// Every entry with its count, in order; `None` where there are none.
fn counted(list: &[(String, usize)], verb: &str) -> Option<String> {
    let mut parts: Vec<String> = list
        .iter()
        .map(|(name, count)| format!("{name} {verb} {count} resource instances"))
        .collect();
    parts.sort_unstable();
    (!parts.is_empty()).then(|| parts.join(", "))
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
