//! `admissionregistration.k8s.io MutatingAdmissionPolicyBinding`: where changes apply.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{hooks, row, validating_admission_policy_binding};
use crate::resource::{Names, Resource, Scope, Strategy};

struct MutatingAdmissionPolicyBinding;

const KIND: &str = "MutatingAdmissionPolicyBinding";
const PLURAL: &str = "mutatingadmissionpolicybindings";

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version: &'static str| Resource {
        categories: Names::Static(&["api-extensions"]),
        scope: Scope::Cluster,
        columns: validating_admission_policy_binding::columns(),
        has_generation: true,
        off_by_default: version != "v1",
        needs_revision: true,
        ..row(hooks::GROUP, version, KIND, PLURAL, &MutatingAdmissionPolicyBinding).stored_as(
            hooks::GROUP,
            "v1",
            PLURAL,
        )
    };
    ["v1", "v1beta1", "v1alpha1"].map(of).into()
}

impl Strategy for MutatingAdmissionPolicyBinding {
    fn default(&self, object: &mut Value) {
        validating_admission_policy_binding::default(object);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let mut faults = Faults::default();
        hooks::binding(&spec, &mut faults);
        hooks::mutable_operations(&spec.get("matchResources"), &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn the_policy_is_named() {
        let mut object = json!({"spec": {"policyName": "p", "matchResources": {}}});
        MutatingAdmissionPolicyBinding.default(&mut object);
        assert_eq!(object["spec"]["matchResources"]["objectSelector"], json!({}));
        assert_eq!(show(&MutatingAdmissionPolicyBinding.validate(&object)), "");
        assert_eq!(
            show(&MutatingAdmissionPolicyBinding.validate(&json!({}))),
            "spec.policyName: Required value"
        );
        object["spec"]["matchResources"]["resourceRules"] = json!([{"operations": ["DELETE"],
            "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]);
        assert_eq!(
            show(&MutatingAdmissionPolicyBinding.validate(&object)),
            "spec.matchResources.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\""
        );
    }
}
