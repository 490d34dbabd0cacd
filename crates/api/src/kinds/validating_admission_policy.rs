//! `admissionregistration.k8s.io ValidatingAdmissionPolicy`: rules in CEL.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, conditions, hooks, row, tree};
use crate::resource::{Cell, Column, Names, Resource, Scope, Strategy, Subresource};

struct ValidatingAdmissionPolicy;

const PLURAL: &str = "validatingadmissionpolicies";
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const ANNOTATIONS_MAX: usize = 20;
const EXPRESSION_BYTES_MAX: usize = 5 * 1024;
const EMPTY: &str = "validations or auditAnnotations must contain at least one item";

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version: &'static str| Resource {
        categories: Names::Static(&["api-extensions"]),
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        columns: vec![
            Column::integer(
                "Validations",
                Cell::Compute(|o, _| tree::list(o, "/spec/validations").len().into()),
            ),
            Column::new("ParamKind", Cell::Compute(|o, _| hooks::shown_param_kind(o).into())),
            cells::age(),
        ],
        has_status: true,
        has_generation: true,
        off_by_default: version != "v1",
        needs_revision: true,
        ..row(
            hooks::GROUP,
            version,
            "ValidatingAdmissionPolicy",
            PLURAL,
            &ValidatingAdmissionPolicy,
        )
        .stored_as(hooks::GROUP, "v1", PLURAL)
    };
    vec![of("v1"), of("v1beta1")]
}

fn validation(at: &At<'_>, faults: &mut Faults) {
    hooks::expression(at, "expression is not specified", faults);
    let (message, own_expression) = (at.get("message"), at.get("messageExpression"));
    if !own_expression.text().is_empty() && own_expression.text().trim().is_empty() {
        faults.invalid(&own_expression, "must be non-empty if specified");
    }
    if !message.text().is_empty() && message.text().trim().is_empty() {
        faults.invalid(&message, "message must be non-empty if specified");
    } else if message.text().trim().contains(['\n', '\r']) {
        faults.invalid(&message, "message must not contain line breaks");
    }
    faults.optional_one_of(&at.get("reason"), &REASONS);
}

/// Keys stand in the audit behind the policy's name.
fn audit_key(policy: &str, key: &At<'_>, faults: &mut Faults) {
    if policy.is_empty() {
        faults.invalid(key, "requires metadata.name be non-empty");
        return;
    }
    let whole = format!("{policy}/{}", key.text());
    faults.qualified_as(key, &whole, &whole);
}

fn audit_annotations(policy: &str, at: &At<'_>, faults: &mut Faults) {
    if at.len() > ANNOTATIONS_MAX {
        let text = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        faults.invalid(at, text);
    }
    let mut keys = BTreeSet::new();
    for annotation in at.items() {
        let (key, value) = (annotation.get("key"), annotation.get("valueExpression"));
        audit_key(policy, &key, faults);
        if value.text().trim().is_empty() {
            faults.required(&value, "valueExpression is not specified");
        } else if value.text().len() > EXPRESSION_BYTES_MAX {
            let text = format!("must not exceed {} bytes in length", EXPRESSION_BYTES_MAX);
            faults.required(&value, &text);
        }
        faults.unique(&key, &mut keys);
    }
}

impl Strategy for ValidatingAdmissionPolicy {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        tree::fill(spec, "failurePolicy", "Fail");
        if let Some(constraints) = tree::child(spec, "matchConstraints") {
            hooks::default_match(constraints);
        }
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let (validations, annotations) = (spec.get("validations"), spec.get("auditAnnotations"));
        let mut faults = Faults::default();
        hooks::policy(&spec, &mut faults);
        if validations.len() + annotations.len() == 0 {
            faults.required(&validations, EMPTY);
            faults.required(&annotations, EMPTY);
        }
        for place in validations.items() {
            validation(&place, &mut faults);
        }
        audit_annotations(crate::meta::name(object), &annotations, &mut faults);
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let status = At::root(new).get("status");
        let mut faults = Faults::default();
        for warning in status.get2("typeChecking", "expressionWarnings").items() {
            for field in ["warning", "fieldRef"] {
                if warning.get(field).text().trim().is_empty() {
                    faults.required(&warning.get(field), "");
                }
            }
        }
        conditions::conditions(&status.get("conditions"), &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn defaults_faults_and_columns() {
        let mut object = json!({"spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": [
            {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]},
            "validations": [{"expression": "true"}]}});
        ValidatingAdmissionPolicy.default(&mut object);
        assert_eq!(object["spec"]["matchConstraints"]["matchPolicy"], "Equivalent");
        assert_eq!(show(&ValidatingAdmissionPolicy.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["1", "v1/ConfigMap", "<unknown>"]
        );
        let annotated = json!({"metadata": {"name": "p"}, "spec": {"auditAnnotations": [
            {"key": "a", "valueExpression": "'b'"}, {"key": "a", "valueExpression": ""}, {"key": "a/b", "valueExpression": "'c'"}]}});
        let mut faults = Faults::default();
        audit_annotations("p", &At::root(&annotated).get2("spec", "auditAnnotations"), &mut faults);
        let shown = show(&faults.0);
        assert!(shown.starts_with(
            "spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not specified\n\
             spec.auditAnnotations[1].key: Duplicate value: \"a\"\n\
             spec.auditAnnotations[2].key: Invalid value: \"p/a/b\": "), "{shown}");
        let mut bad = json!({"spec": {"variables": [{"name": "1a", "expression": "1"}]}});
        ValidatingAdmissionPolicy.default(&mut bad);
        assert_eq!(
            show(&ValidatingAdmissionPolicy.validate(&bad)),
            "spec.matchConstraints: Required value\n\
             spec.variables[0].name: Invalid value: \"1a\": name is not a valid CEL identifier\n\
             spec.validations: Required value: validations or auditAnnotations must contain at least one item\n\
             spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item"
        );
    }

    #[test]
    fn messages_have_one_line_and_rules_may_have_more() {
        let cases = [
            (json!({"expression": "true\n&& true"}), ""),
            (
                json!({"expression": "true", "message": "a\nb"}),
                "v.message: Invalid value: \"a\\nb\": message must not contain line breaks",
            ),
            (
                json!({"expression": " ", "messageExpression": " "}),
                "v.expression: Required value: expression is not specified\nv.messageExpression: Invalid value: \" \": must be non-empty if specified",
            ),
            (
                json!({"expression": "true", "reason": "Unauthorized"}),
                "v.reason: Unsupported value: \"Unauthorized\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
            ),
        ];
        for (value, expected) in cases {
            let object = json!({"v": value});
            let mut faults = Faults::default();
            validation(&At::root(&object).get("v"), &mut faults);
            assert_eq!(show(&faults.0), expected);
        }
    }

    #[test]
    fn a_status_names_types_and_reasons() {
        let with = |status: Value| {
            let object = json!({"status": status});
            show(&ValidatingAdmissionPolicy.validate_status_update(&object, &json!({})))
        };
        let condition = json!({"type": "A", "status": "True", "reason": "B", "message": "", "lastTransitionTime": "2024-01-01T00:00:00Z"});
        assert_eq!(with(json!({"typeChecking": {}, "conditions": [condition]})), "");
        assert_eq!(
            with(
                json!({"typeChecking": {"expressionWarnings": [{"fieldRef": "spec"}]}, "conditions": [{"type": "A", "status": "x"}]})
            ),
            "status.typeChecking.expressionWarnings[0].warning: Required value\n\
             status.conditions[0].status: Unsupported value: \"x\": supported values: \"False\", \"True\", \"Unknown\"\n\
             status.conditions[0].lastTransitionTime: Required value: must be set\n\
             status.conditions[0].reason: Required value: must be set"
        );
    }
}
