//! `rbac.authorization.k8s.io/v1 RoleBinding`: gives a role in one namespace.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{rbac, row};
use crate::resource::{NameRule, Resource, Strategy};

struct RoleBinding;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        columns: rbac::binding_columns(),
        name_rule: NameRule::PathSegment,
        create_on_update: true,
        ..row(rbac::GROUP, "v1", "RoleBinding", "rolebindings", &RoleBinding)
    }]
}

impl Strategy for RoleBinding {
    fn default(&self, object: &mut Value) {
        rbac::default_binding(object);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        rbac::binding(&At::root(object), &["ClusterRole", "Role"], true, &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        rbac::binding_update(new, old, &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::cells;
    use crate::kinds::check::show;

    #[test]
    fn faults_read_as_upstreams() {
        let mut old = json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [
            {"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]});
        RoleBinding.default(&mut old);
        assert_eq!(old["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
        assert_eq!(old["subjects"][1].get("apiGroup"), None);
        assert_eq!(show(&RoleBinding.validate(&old)), "");
        assert_eq!(
            cells::show(&rows()[0], &old, "2026-01-01T00:00:00Z"),
            ["ClusterRole/r", "<unknown>", "u", "", "n/s"]
        );
        let mut new = old.clone();
        new["roleRef"]["kind"] = json!("X");
        new["subjects"][0]["kind"] = json!("Y");
        assert_eq!(
            show(&RoleBinding.validate_update(&new, &old)),
            "roleRef.kind: Unsupported value: \"X\": supported values: \"ClusterRole\", \"Role\"\n\
             subjects[0].kind: Unsupported value: \"Y\": supported values: \"Group\", \"ServiceAccount\", \"User\"\n\
             roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"X\",\"name\":\"r\"}: cannot change roleRef"
        );
    }
}
