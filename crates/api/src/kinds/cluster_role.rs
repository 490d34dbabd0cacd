//! `rbac.authorization.k8s.io/v1 ClusterRole`: a set of rights.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, rbac, row};
use crate::resource::{NameRule, Resource, Scope, Strategy};

struct ClusterRole;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        columns: vec![cells::created_at()],
        name_rule: NameRule::PathSegment,
        create_on_update: true,
        ..row(rbac::GROUP, "v1", "ClusterRole", "clusterroles", &ClusterRole)
    }]
}

impl Strategy for ClusterRole {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        for rule in At::root(object).get("rules").items() {
            rbac::rule(&rule, false, &mut faults);
        }
        let rule = At::root(object).get("aggregationRule");
        let selectors = rule.get("clusterRoleSelectors");
        if rule.is_set() && selectors.len() == 0 {
            faults.required(
                &selectors,
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            );
        }
        for selector in selectors.items() {
            faults.label_selector(&selector);
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
            show(&ClusterRole.validate(&object)),
            "rules[0].verbs: Required value: verbs must contain at least one value\n\
             rules[0].apiGroups: Required value: resource rules must supply at least one api group\n\
             rules[0].resources: Required value: resource rules must supply at least one resource"
        );
        assert_eq!(
            show(&ClusterRole.validate(&json!({"aggregationRule": {}}))),
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"
        );
    }
}
