//! `node.k8s.io/v1 RuntimeClass`: a way to run containers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::pod_spec::{containers, defaults, placement};
use crate::kinds::{amounts, cells, row, tree};
use crate::name;
use crate::resource::{Cell, Column, Resource, Scope, Strategy};

struct RuntimeClass;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        columns: vec![Column::new("Handler", Cell::Pointer("/handler")), cells::age()],
        create_on_update: true,
        needs_revision: true,
        ..row("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", &RuntimeClass)
    }]
}

fn scheduling(at: &At<'_>, faults: &mut Faults) {
    faults.labels(&at.get("nodeSelector"));
    let list = at.get("tolerations");
    let nested = At { value: list.value, path: list.path.child("tolerations") };
    placement::tolerations(&nested, faults);
    let mut seen = BTreeSet::new();
    for toleration in list.items() {
        let key = ["key", "operator", "value", "effect"].map(|field| toleration.get(field).text());
        if !seen.insert(key) {
            faults.duplicate(&toleration);
        }
    }
}

impl Strategy for RuntimeClass {
    fn default(&self, object: &mut Value) {
        if let Some(fixed) = tree::at_mut(object, "/overhead/podFixed") {
            defaults::resource_list(fixed);
        }
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let mut faults = Faults::default();
        faults.rule(&at.get("handler"), name::label);
        for (resource, amount) in at.get2("overhead", "podFixed").entries() {
            containers::resource_name(&amount, resource, true, &mut faults);
            amounts::non_negative(&amount, &mut faults);
        }
        scheduling(&at.get("scheduling"), &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        faults.immutable(&At::root(new).get("handler"), &At::root(old).get("handler"));
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn the_handler_is_a_label_and_stays() {
        let old = json!({"handler": "gvisor"});
        assert_eq!(show(&RuntimeClass.validate(&old)), "");
        assert_eq!(cells::show(&rows()[0], &old, "2026-01-01T00:00:00Z")[0], "gvisor");
        let new = json!({"handler": "A"});
        assert!(
            show(&RuntimeClass.validate(&new))
                .starts_with("handler: Invalid value: \"A\": a lowercase RFC 1123 label")
        );
        assert_eq!(
            show(&RuntimeClass.validate_update(&json!({"handler": "b"}), &old)),
            "handler: Invalid value: \"b\": field is immutable"
        );
    }
}
