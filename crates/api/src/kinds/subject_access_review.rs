//! `authorization.k8s.io/v1` access reviews: who may do what; never stored.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{row, tree};
use crate::resource::{Names, Plain, Resource, Scope, Strategy};

/// The group of the reviews.
const GROUP: &str = "authorization.k8s.io";

/// A question about one request, and what it may say.
struct Review {
    /// Whether it names who asks; otherwise it is the caller.
    of_others: bool,
    /// Whether it is about one namespace, its own.
    is_local: bool,
}

static SELF: Review = Review { of_others: false, is_local: false };
static ANYWHERE: Review = Review { of_others: true, is_local: false };
static LOCAL: Review = Review { of_others: true, is_local: true };

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let virtual_row = |kind: &'static str, plural, strategy: &'static dyn Strategy| Resource {
        scope: Scope::Cluster,
        verbs: Names::Static(&["create"]),
        virtual_only: true,
        ..row(GROUP, "v1", kind, plural, strategy)
    };
    vec![
        Resource {
            scope: Scope::Namespaced,
            ..virtual_row("LocalSubjectAccessReview", "localsubjectaccessreviews", &LOCAL)
        },
        virtual_row("SelfSubjectAccessReview", "selfsubjectaccessreviews", &SELF),
        virtual_row("SelfSubjectRulesReview", "selfsubjectrulesreviews", &Plain),
        virtual_row("SubjectAccessReview", "subjectaccessreviews", &ANYWHERE),
    ]
}

impl Strategy for Review {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let spec = at.get("spec");
        let (resource, path) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
        let mut faults = Faults::default();
        match (resource.is_set(), path.is_set()) {
            (true, true) => {
                faults.invalid(&path, "cannot be specified in combination with resourceAttributes");
            }
            (false, false) => faults.invalid_as(
                &resource,
                "null",
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ),
            _ => {}
        }
        if self.of_others && spec.get("user").is_zero() && spec.get("groups").is_zero() {
            faults.invalid_as(
                &spec.get("user"),
                "",
                "at least one of user or group must be specified",
            );
        }
        selector(&resource.get("fieldSelector"), false, &mut faults);
        selector(&resource.get("labelSelector"), true, &mut faults);
        self.metadata(&at.get("metadata"), &mut faults);
        if self.is_local {
            let (asked, own) =
                (resource.get("namespace"), tree::text(object, "/metadata/namespace"));
            if resource.is_set() && asked.text() != own {
                faults.invalid_as(&asked, asked.text(), "must match metadata.namespace");
            }
            if path.is_set() {
                faults.invalid(&path, "disallowed on this kind of request");
            }
        }
        faults.0
    }
}

impl Review {
    fn metadata(&self, at: &At<'_>, faults: &mut Faults) {
        let is_free =
            |field: &str| field == "managedFields" || (self.is_local && field == "namespace");
        if at.entries().any(|(field, value)| !is_free(field) && !value.is_zero()) {
            let except = if self.is_local { " except for namespace" } else { "" };
            faults.invalid(at, format!("must be empty{except}"));
        }
    }
}

/// A selector that the request would have. Operators that are not known are those of a newer client.
fn selector(at: &At<'_>, is_of_labels: bool, faults: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let (raw, requirements) = (at.get("rawSelector"), at.get("requirements"));
    match (raw.is_zero(), requirements.is_zero()) {
        (false, false) => {
            faults.invalid(&raw, "may not specified at the same time as requirements");
        }
        (true, true) => {
            let place = &at.path;
            let text =
                format!("when {place} is specified, requirements or rawSelector is required");
            faults.required(&requirements, &text);
        }
        _ => {}
    }
    for requirement in requirements.items() {
        let (key, values) = (requirement.get("key"), requirement.get("values"));
        match requirement.get("operator").text() {
            "In" | "NotIn" if values.is_zero() => {
                faults.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_zero() => faults.forbidden(
                &values,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            _ => {}
        }
        if !is_of_labels {
            if key.is_zero() {
                faults.required(&key, "must be specified");
            }
            continue;
        }
        faults.qualified(&key);
        for value in values.items() {
            faults.rule(&value, crate::name::label_value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn reviews_ask_one_thing_of_one_subject() {
        let pods = json!({"namespace": "n", "verb": "get", "resource": "pods"});
        let local = json!({"metadata": {"namespace": "n"}, "spec": {"user": "u", "resourceAttributes": pods}});
        assert_eq!(show(&LOCAL.validate(&local)), "");
        assert_eq!(
            show(&ANYWHERE.validate(&local)),
            "metadata: Invalid value: {\"namespace\":\"n\"}: must be empty"
        );
        assert_eq!(show(&SELF.validate(&json!({"spec": {"resourceAttributes": pods}}))), "");
        assert_eq!(
            show(&ANYWHERE.validate(&json!({}))),
            "spec.resourceAttributes: Invalid value: \"null\": exactly one of nonResourceAttributes or resourceAttributes must be specified\n\
             spec.user: Invalid value: \"\": at least one of user or group must be specified"
        );
        let other = json!({"metadata": {"namespace": "m"}, "spec": {"groups": ["g"],
            "resourceAttributes": {"namespace": "n"}, "nonResourceAttributes": {"path": "/x"}}});
        assert_eq!(
            show(&LOCAL.validate(&other)),
            "spec.nonResourceAttributes: Invalid value: {\"path\":\"/x\"}: cannot be specified in combination with resourceAttributes\n\
             spec.resourceAttributes.namespace: Invalid value: \"n\": must match metadata.namespace\n\
             spec.nonResourceAttributes: Invalid value: {\"path\":\"/x\"}: disallowed on this kind of request"
        );
    }

    #[test]
    fn selectors_say_something() {
        let asked = |selector: Value| {
            json!({"spec": {"resourceAttributes": {"labelSelector": selector, "fieldSelector": {
                "requirements": [{"operator": "In"}]}}}})
        };
        let of_fields = "spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'\n\
             spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified\n";
        let cases = [
            (
                json!({}),
                "spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required",
            ),
            (
                json!({"rawSelector": "a", "requirements": [{"key": "a", "operator": "Newer"}]}),
                "spec.resourceAttributes.labelSelector.rawSelector: Invalid value: \"a\": may not specified at the same time as requirements",
            ),
            (
                json!({"requirements": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
                "spec.resourceAttributes.labelSelector.requirements[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
        ];
        for (selector, text) in cases {
            assert_eq!(show(&SELF.validate(&asked(selector))), format!("{of_fields}{text}"));
        }
    }
}
