//! `rbac.authorization.k8s.io/v1 Role`: a set of rights in one namespace.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, rbac, row};
use crate::resource::{NameRule, Resource, Strategy};

struct Role;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        columns: vec![cells::created_at()],
        name_rule: NameRule::PathSegment,
        create_on_update: true,
        ..row(rbac::GROUP, "v1", "Role", "roles", &Role)
    }]
}

impl Strategy for Role {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        for rule in At::root(object).get("rules").items() {
            rbac::rule(&rule, true, &mut faults);
        }
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn faults_read_as_upstreams() {
        let object = json!({"rules": [{}, {"verbs": ["get"], "nonResourceURLs": ["/x"]}]});
        assert_eq!(
            show(&Role.validate(&object)),
            "rules[0].verbs: Required value: verbs must contain at least one value\n\
             rules[0].apiGroups: Required value: resource rules must supply at least one api group\n\
             rules[0].resources: Required value: resource rules must supply at least one resource\n\
             rules[1].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs"
        );
    }
}
