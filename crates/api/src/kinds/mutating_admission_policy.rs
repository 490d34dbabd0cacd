//! `admissionregistration.k8s.io MutatingAdmissionPolicy`: changes in CEL.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, hooks, row, tree};
use crate::resource::{Cell, Column, Names, Resource, Scope, Strategy};

struct MutatingAdmissionPolicy;

const PLURAL: &str = "mutatingadmissionpolicies";

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version: &'static str| Resource {
        categories: Names::Static(&["api-extensions"]),
        scope: Scope::Cluster,
        columns: vec![
            Column::integer(
                "Mutations",
                Cell::Compute(|o, _| tree::list(o, "/spec/mutations").len().into()),
            ),
            Column::new("ParamKind", Cell::Compute(|o, _| hooks::shown_param_kind(o).into())),
            cells::age(),
        ],
        has_generation: true,
        off_by_default: version != "v1",
        needs_revision: true,
        ..row(hooks::GROUP, version, "MutatingAdmissionPolicy", PLURAL, &MutatingAdmissionPolicy)
            .stored_as(hooks::GROUP, "v1", PLURAL)
    };
    ["v1", "v1beta1", "v1alpha1"].map(of).into()
}

fn mutation(at: &At<'_>, faults: &mut Faults) {
    let kind = at.get("patchType");
    let (wanted, other) = match kind.text() {
        "" => {
            faults.required(&kind, "");
            return;
        }
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        _ => {
            faults.not_supported(&kind, &["ApplyConfiguration", "JSONPatch"]);
            return;
        }
    };
    if at.get(wanted).is_set() {
        hooks::expression(&at.get(wanted), "", faults);
    } else {
        let text = format!("must be specified when patchType is {}", kind.text());
        faults.required(&at.get(wanted), &text);
    }
    if at.get(other).is_set() {
        let text = format!("must not be specified when patchType is {}", kind.text());
        faults.invalid_as(&at.get(other), format!("{{{other}}}"), text);
    }
}

impl Strategy for MutatingAdmissionPolicy {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        tree::fill(spec, "failurePolicy", "Fail");
        if let Some(constraints) = tree::child(spec, "matchConstraints") {
            hooks::default_match(constraints);
        }
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let mutations = spec.get("mutations");
        let mut faults = Faults::default();
        hooks::policy(&spec, &mut faults);
        hooks::mutable_operations(&spec.get("matchConstraints"), &mut faults);
        if mutations.len() == 0 {
            faults.required(&mutations, "mutations must contain at least one item");
        }
        for place in mutations.items() {
            mutation(&place, &mut faults);
        }
        hooks::reinvocation(&spec.get("reinvocationPolicy"), &mut faults);
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
        let mut object = json!({"spec": {"reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": [
            {"operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]},
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}]}});
        MutatingAdmissionPolicy.default(&mut object);
        assert_eq!(show(&MutatingAdmissionPolicy.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["1", "<unset>", "<unknown>"]
        );
        object["spec"]["mutations"] = json!([{"patchType": "JSONPatch", "applyConfiguration": {}}]);
        assert_eq!(
            show(&MutatingAdmissionPolicy.validate(&object)),
            "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch\n\
             spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch"
        );
    }
}
