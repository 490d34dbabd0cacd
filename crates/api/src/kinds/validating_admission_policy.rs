//! `admissionregistration.k8s.io ValidatingAdmissionPolicy`: rules in CEL.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, hooks, row, tree};
use crate::name;
use crate::resource::{Cell, Column, Names, Resource, Scope, Strategy, Subresource};

struct ValidatingAdmissionPolicy;

const PLURAL: &str = "validatingadmissionpolicies";
const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
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
    if !message.text().is_empty() && message.text().trim().is_empty() {
        faults.invalid(&message, "message must be non-empty if specified");
    }
    if message.text().trim().contains('\n') {
        faults.invalid(&message, "message must not contain line breaks");
    } else if at.get("expression").text().contains('\n') && message.is_zero() {
        faults.required(&message, "message must be specified if expression contains line breaks");
    }
    if !own_expression.text().is_empty() && own_expression.text().trim().is_empty() {
        faults.invalid(&own_expression, "must be non-empty if specified");
    }
    faults.optional_one_of(&at.get("reason"), &REASONS);
}

fn audit_annotations(at: &At<'_>, faults: &mut Faults) {
    if at.len() > ANNOTATIONS_MAX {
        let text = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        faults.invalid(at, text);
    }
    let mut keys = BTreeSet::new();
    for annotation in at.items() {
        let (key, value) = (annotation.get("key"), annotation.get("valueExpression"));
        faults.required_rule(&key, name::qualified);
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
        audit_annotations(&annotations, &mut faults);
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
}
