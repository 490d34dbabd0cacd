//! `admissionregistration.k8s.io ValidatingAdmissionPolicyBinding`: where rules apply.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, hooks, row, tree};
use crate::resource::{Cell, Column, Names, Resource, Scope, Strategy};

struct ValidatingAdmissionPolicyBinding;

const KIND: &str = "ValidatingAdmissionPolicyBinding";
const PLURAL: &str = "validatingadmissionpolicybindings";

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version: &'static str| Resource {
        categories: Names::Static(&["api-extensions"]),
        scope: Scope::Cluster,
        columns: columns(),
        has_generation: true,
        off_by_default: version != "v1",
        needs_revision: true,
        ..row(hooks::GROUP, version, KIND, PLURAL, &ValidatingAdmissionPolicyBinding).stored_as(
            hooks::GROUP,
            "v1",
            PLURAL,
        )
    };
    vec![of("v1"), of("v1beta1")]
}

/// The columns of this kind and of its mutating counterpart.
pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::new("PolicyName", Cell::Pointer("/spec/policyName")),
        Column::new("ParamRef", Cell::Compute(|o, _| hooks::shown_param_ref(o).into())),
        cells::age(),
    ]
}

/// Defaults of this kind and of its mutating counterpart.
pub(super) fn default(object: &mut Value) {
    if let Some(resources) = tree::at_mut(object, "/spec/matchResources") {
        hooks::default_match(resources);
    }
}

fn actions(at: &At<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for action in at.items() {
        faults.optional_one_of(&action, &["Audit", "Deny", "Warn"]);
        faults.unique(&action, &mut seen);
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        faults.invalid(at, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)");
    }
    if seen.is_empty() {
        faults.required(at, "at least one validation action is required");
    }
}

impl Strategy for ValidatingAdmissionPolicyBinding {
    fn default(&self, object: &mut Value) {
        default(object);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let mut faults = Faults::default();
        hooks::binding(&spec, &mut faults);
        actions(&spec.get("validationActions"), &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn faults_and_columns() {
        let object = json!({"spec": {"policyName": "p", "validationActions": ["Deny"],
            "paramRef": {"name": "q", "parameterNotFoundAction": "Deny"}}});
        assert_eq!(show(&ValidatingAdmissionPolicyBinding.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["p", "*/q", "<unknown>"]
        );
        assert_eq!(
            show(&ValidatingAdmissionPolicyBinding.validate(&json!({"spec": {"paramRef": {}}}))),
            "spec.policyName: Required value\n\
             spec.paramRef: Required value: one of name or selector must be specified\n\
             spec.paramRef.parameterNotFoundAction: Required value\n\
             spec.validationActions: Required value: at least one validation action is required"
        );
    }
}
