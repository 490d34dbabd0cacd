//! The status of a definition: which names it has, its conditions, and the versions that are stored.
//!
//! A pure function of the definition and of the names that the others of its group have.

use std::collections::BTreeSet;

use api::meta;
use serde_json::{Map, Value, json};

use super::definition;
use crate::handle::text;

const APPROVED: &str = "api-approved.kubernetes.io";
const PROPOSALS: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// The names that definitions of one group have been given.
#[derive(Debug, Default)]
pub(super) struct Used {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Used {
    /// Adds what another definition of the group has.
    pub(super) fn add(&mut self, definition: &Value) {
        let Some(names) = definition.pointer("/status/acceptedNames") else { return };
        for field in ["plural", "singular"] {
            self.resources.insert(text(names, &format!("/{field}")).to_owned());
        }
        self.resources.extend(list(names, "shortNames"));
        for field in ["kind", "listKind"] {
            self.kinds.insert(text(names, &format!("/{field}")).to_owned());
        }
    }
}

fn list(names: &Value, field: &str) -> Vec<String> {
    let list = names.get(field).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// One condition of a definition.
pub(super) struct Condition {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Condition {
    fn new(
        kind: &'static str,
        status: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, status, reason, message: message.into() }
    }

    /// While the objects of a dying definition are removed.
    pub(super) fn removing() -> Self {
        let message = "CustomResource deletion is in progress";
        Self::new("Terminating", "True", "InstanceDeletionInProgress", message)
    }

    /// When there is none left; `established` tells whether there could be any.
    pub(super) fn removed(established: bool) -> Self {
        let (reason, message) = if established {
            ("InstanceDeletionCompleted", "removed all instances")
        } else {
            ("NeverEstablished", "resource was never established")
        };
        Self::new("Terminating", "False", reason, message)
    }

    /// Puts the condition among the others; the time is that of the last change of its status.
    pub(super) fn set(&self, conditions: &mut Vec<Value>, now: &str) {
        let old = conditions.iter_mut().find(|condition| text(condition, "/type") == self.kind);
        let since = match &old {
            Some(old) if text(old, "/status") == self.status => {
                text(old, "/lastTransitionTime").to_owned()
            }
            _ => now.to_owned(),
        };
        let fresh = json!({"type": self.kind, "status": self.status, "reason": self.reason,
            "message": self.message, "lastTransitionTime": since});
        match old {
            Some(old) => *old = fresh,
            None => conditions.push(fresh),
        }
    }
}

/// A condition as it is.
pub(super) fn is_true(definition: &Value, kind: &str) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|found| text(found, "/type") == kind && text(found, "/status") == "True")
}

/// Whether the names that a definition asks for are those that it has.
pub(super) fn has_its_names(definition: &Value) -> bool {
    definition.pointer("/spec/names") == definition.pointer("/status/acceptedNames")
}

/// The status that a definition should have, but for its end.
pub(super) fn wanted(definition: &Value, used: &Used, now: &str) -> Value {
    let mut status =
        definition.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut conditions =
        status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let (names, accepted) = accept_names(definition, used);
    if !has_its_names(definition) || !is_true(definition, "NamesAccepted") {
        accepted.set(&mut conditions, now);
    }
    if !is_true(definition, "Established") {
        established(accepted.status == "True").set(&mut conditions, now);
    }
    let violations = definition::violations(definition);
    if violations.is_empty() {
        conditions.retain(|condition| text(condition, "/type") != "NonStructuralSchema");
    } else {
        let message = aggregate(&violations.iter().map(ToString::to_string).collect::<Vec<_>>());
        Condition::new("NonStructuralSchema", "True", "Violations", message)
            .set(&mut conditions, now);
    }
    if let Some(approval) = approval(definition) {
        approval.set(&mut conditions, now);
    }
    status.insert("acceptedNames".to_owned(), names);
    status.insert("conditions".to_owned(), conditions.into());
    status.insert("storedVersions".to_owned(), json!(stored_versions(definition)));
    Value::Object(status)
}

/// Several texts as one, each once, as Go shows a list of errors.
fn aggregate(texts: &[String]) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for text in texts {
        if !seen.contains(&text.as_str()) {
            seen.push(text);
        }
    }
    match seen.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}

fn established(accepted: bool) -> Condition {
    if accepted {
        let message = "the initial names have been accepted";
        Condition::new("Established", "True", "InitialNamesAccepted", message)
    } else {
        Condition::new("Established", "False", "NotAccepted", "not all names are accepted")
    }
}

/// The names that a definition has from now on: those it asks for, unless another has them.
fn accept_names(definition: &Value, used: &Used) -> (Value, Condition) {
    let wanted = definition.pointer("/spec/names").cloned().unwrap_or_default();
    let had = definition.pointer("/status/acceptedNames").cloned().unwrap_or_default();
    let mut names = had.as_object().cloned().unwrap_or_default();
    let mut refused: Option<(&'static str, String)> = None;
    let in_use = |name: &str| format!("{name:?} is already in use");
    for (field, set, reason) in [
        ("plural", &used.resources, "PluralConflict"),
        ("singular", &used.resources, "SingularConflict"),
        ("shortNames", &used.resources, "ShortNamesConflict"),
        ("kind", &used.kinds, "KindConflict"),
        ("listKind", &used.kinds, "ListKindConflict"),
    ] {
        let (asked, has): (Vec<String>, Vec<String>) = if field == "shortNames" {
            (list(&wanted, field), list(&had, field))
        } else {
            let one = |names: &Value| vec![text(names, &format!("/{field}")).to_owned()];
            (one(&wanted), one(&had))
        };
        let taken: Vec<String> = asked
            .iter()
            .filter(|name| !name.is_empty() && !has.contains(name) && set.contains(*name))
            .map(|name| in_use(name))
            .collect();
        if taken.is_empty() {
            put(&mut names, &wanted, field);
        } else {
            refused = Some((reason, aggregate(&taken)));
        }
    }
    put(&mut names, &wanted, "categories");
    let condition = match refused {
        None => Condition::new("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        Some((reason, message)) => Condition::new("NamesAccepted", "False", reason, message),
    };
    (Value::Object(names), condition)
}

fn put(names: &mut Map<String, Value>, wanted: &Value, field: &str) {
    match wanted.get(field) {
        Some(value) => names.insert(field.to_owned(), value.clone()),
        None => names.remove(field),
    };
}

/// Groups of the community need its approval.
fn approval(definition: &Value) -> Option<Condition> {
    let group = text(definition, "/spec/group");
    let is_protected = ["k8s.io", "kubernetes.io"].iter().any(|suffix| {
        group == *suffix || group.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))
    });
    if !is_protected {
        return None;
    }
    let condition = |status, reason, message: String| {
        Some(Condition::new("KubernetesAPIApprovalPolicyConformant", status, reason, message))
    };
    let needs = format!("protected groups must have approval annotation {APPROVED:?}");
    match meta::annotation(definition, APPROVED).unwrap_or_default() {
        "" => condition("False", "MissingAnnotation", format!("{needs}, {PROPOSALS}")),
        why if why.starts_with("unapproved") => {
            condition("False", "UnapprovedAnnotation", format!("not approved: {why:?}"))
        }
        link if link.starts_with("https://") || link.starts_with("http://") => {
            condition("True", "ApprovedAnnotation", format!("approved in {link}"))
        }
        _ => condition(
            "False",
            "InvalidAnnotation",
            format!(
                "{needs} with either a URL or a reason starting with \"unapproved\", {PROPOSALS}"
            ),
        ),
    }
}

/// Every version in which objects may have been stored.
fn stored_versions(definition: &Value) -> Vec<String> {
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    let storage = versions.into_iter().flatten().find(|version| version["storage"] == true);
    let mut stored =
        definition.get("status").map(|s| list(s, "storedVersions")).unwrap_or_default();
    if let Some(storage) = storage.map(|version| text(version, "/name").to_owned())
        && !stored.contains(&storage)
    {
        stored.push(storage);
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn definition() -> Value {
        json!({"spec": {"group": "a.b", "names": {"plural": "foos", "singular": "foo",
            "kind": "Foo", "listKind": "FooList", "shortNames": ["f"]},
            "versions": [{"name": "v1", "storage": true, "served": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
    }

    fn told(status: &Value) -> Vec<String> {
        let conditions = status["conditions"].as_array().unwrap().iter();
        let show = |c: &Value| {
            format!("{}={} {}", text(c, "/type"), text(c, "/status"), text(c, "/reason"))
        };
        conditions.map(show).collect()
    }

    #[test]
    fn free_names_are_accepted() {
        let definition = definition();
        let status = wanted(&definition, &Used::default(), NOW);
        assert_eq!(status["acceptedNames"], definition["spec"]["names"]);
        assert_eq!(status["storedVersions"], json!(["v1"]));
        assert_eq!(
            told(&status),
            ["NamesAccepted=True NoConflicts", "Established=True InitialNamesAccepted"]
        );
        let mut settled = definition;
        settled["status"] = status.clone();
        assert_eq!(wanted(&settled, &Used::default(), "2027-01-01T00:00:00Z"), status);
    }

    #[test]
    fn taken_names_are_refused_and_the_others_kept() {
        let mut used = Used::default();
        used.add(&json!({"status": {"acceptedNames": {"plural": "f", "kind": "Bar"}}}));
        let status = wanted(&definition(), &used, NOW);
        assert_eq!(
            told(&status),
            ["NamesAccepted=False ShortNamesConflict", "Established=False NotAccepted"]
        );
        assert_eq!(status["conditions"][0]["message"], "\"f\" is already in use");
        assert!(status["acceptedNames"].get("shortNames").is_none());
        let mut served = definition();
        served["status"] = wanted(&served, &Used::default(), NOW);
        served["spec"]["names"]["shortNames"] = json!(["f", "x"]);
        used.add(&json!({"status": {"acceptedNames": {"plural": "x"}}}));
        let status = wanted(&served, &used, NOW);
        assert_eq!(status["acceptedNames"]["shortNames"], json!(["f"]));
        assert_eq!(
            told(&status),
            ["NamesAccepted=False ShortNamesConflict", "Established=True InitialNamesAccepted"]
        );
    }

    #[test]
    fn violations_and_approval_are_told() {
        let mut odd = definition();
        odd["spec"]["group"] = json!("x.k8s.io");
        odd["spec"]["preserveUnknownFields"] = json!(true);
        odd["metadata"] = json!({"annotations": {APPROVED: "unapproved, a test"}});
        let status = wanted(&odd, &Used::default(), NOW);
        assert_eq!(
            told(&status)[2..],
            [
                "NonStructuralSchema=True Violations",
                "KubernetesAPIApprovalPolicyConformant=False UnapprovedAnnotation"
            ]
        );
        assert_eq!(
            status["conditions"][2]["message"],
            "spec.preserveUnknownFields: Invalid value: true: must be false"
        );
    }
}
