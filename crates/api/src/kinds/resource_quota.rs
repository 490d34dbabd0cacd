//! `v1 ResourceQuota`: caps what a namespace may use.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::pod_spec::defaults::resource_list;
use crate::kinds::{amounts, cells, row, tree};
use crate::resource::{Cell, Column, Names, Resource, Strategy, Subresource};

struct ResourceQuota;

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const STANDARD: [&str; 20] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];
const COMPUTE: [&str; 8] = [
    "cpu",
    "limits.cpu",
    "limits.memory",
    "memory",
    "pods",
    "requests.cpu",
    "requests.memory",
    "limits.ephemeral-storage",
];

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["quota"]),
        subresources: vec![Subresource::STATUS],
        columns: vec![
            Column::new("Request", Cell::Compute(|o, _| usage(o, false).into())),
            Column::new("Limit", Cell::Compute(|o, _| usage(o, true).into())),
            cells::age(),
        ],
        has_status: true,
        shows_deleted: true,
        ..row("", "v1", "ResourceQuota", "resourcequotas", &ResourceQuota)
    }]
}

/// `name: used/hard, …` of limits, or of everything else.
fn usage(object: &Value, is_limits: bool) -> String {
    let hard: std::collections::BTreeMap<_, _> = tree::entries(object, "/status/hard").collect();
    let used = object.pointer("/status/used").cloned().unwrap_or_default();
    let shown: Vec<String> = hard
        .into_iter()
        .filter(|(name, _)| name.starts_with("limits.") == is_limits)
        .map(|(name, amount)| {
            let used = used.get(name).and_then(Value::as_str).unwrap_or("0");
            format!("{name}: {used}/{}", amount.as_str().unwrap_or_default())
        })
        .collect();
    shown.join(", ")
}

fn is_standard(resource: &str) -> bool {
    STANDARD.contains(&resource)
        || resource.starts_with("hugepages-")
        || resource.starts_with("requests.hugepages-")
}

fn quantities(at: &At<'_>, faults: &mut Faults) {
    for (resource, amount) in at.entries() {
        let is_name = faults.qualified_as(&amount, resource, resource);
        if is_name && !resource.contains('/') && !is_standard(resource) {
            faults.invalid_as(&amount, resource, amounts::UNKNOWN_RESOURCE);
            faults.invalid_as(&amount, resource, "must be a standard resource for quota");
        }
        amounts::non_negative(&amount, faults);
        if amounts::is_whole_only(resource)
            && amounts::read(&amount).is_some_and(|amount| !amount.is_whole())
        {
            faults.invalid(&amount, "must be an integer");
        }
    }
}

/// Whether a scope says something about a resource.
fn scope_fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => {
            COMPUTE.contains(&resource)
                || resource.ends_with("ephemeral-storage")
                || resource.contains("hugepages-")
        }
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ => true,
    }
}

fn scopes(spec: &At<'_>, faults: &mut Faults) {
    let at = spec.get("scopes");
    let all: BTreeSet<&str> = at.items().map(|scope| scope.text()).collect();
    for scope in at.items() {
        if !SCOPES.contains(&scope.text()) {
            faults.invalid(&at, "unsupported scope");
        }
        for (resource, _) in spec.get("hard").entries() {
            if is_standard(resource) && !scope_fits(scope.text(), resource) {
                faults.invalid(&at, "unsupported scope applied to resource");
            }
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("NotTerminating", "Terminating")] {
        if all.contains(one) && all.contains(other) {
            faults.invalid(&at, "conflicting scopes");
        }
    }
}

fn scope_selector(spec: &At<'_>, faults: &mut Faults) {
    let whole = spec.get("scopeSelector");
    let at = At { value: whole.value, path: whole.get("matchExpressions").path };
    for requirement in whole.get("matchExpressions").items() {
        let place =
            |field: &str| At { value: requirement.get(field).value, path: at.path.child(field) };
        let (scope, operator, values) = (place("scopeName"), place("operator"), place("values"));
        if !SCOPES.contains(&scope.text()) {
            faults.invalid(&scope, "unsupported scope");
        }
        for (resource, _) in spec.get("hard").entries() {
            if is_standard(resource) && !scope_fits(scope.text(), resource) {
                faults.invalid(&at, "unsupported scope applied to resource");
            }
        }
        let takes_none = matches!(
            scope.text(),
            "Terminating"
                | "NotTerminating"
                | "BestEffort"
                | "NotBestEffort"
                | "CrossNamespacePodAffinity"
        );
        if takes_none && operator.text() != "Exists" {
            faults.invalid(&operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity");
        }
        match (operator.text(), values.len()) {
            ("In" | "NotIn", 0) => faults.required(
                &values,
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            ("Exists" | "DoesNotExist", 1..) => faults.invalid(
                &values,
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
            _ => faults.invalid(&operator, "not a valid selector operator"),
        }
    }
}

impl Strategy for ResourceQuota {
    fn default(&self, object: &mut Value) {
        tree::make(object, "spec");
        for pointer in ["/spec/hard", "/status/hard", "/status/used"] {
            if let Some(list) = tree::at_mut(object, pointer) {
                resource_list(list);
            }
        }
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let mut faults = Faults::default();
        quantities(&spec.get("hard"), &mut faults);
        scopes(&spec, &mut faults);
        scope_selector(&spec, &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        let set = |object| tree::texts(object, "/spec/scopes").into_iter().collect::<BTreeSet<_>>();
        if set(new) != set(old) {
            faults.invalid(&At::root(new).get2("spec", "scopes"), "field is immutable");
        }
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        for list in ["hard", "used"] {
            quantities(&At::root(new).get2("status", list), &mut faults);
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
    fn faults_and_columns() {
        let mut object = json!({"spec": {"hard": {"pods": "10", "limits.cpu": "1000m"}}});
        ResourceQuota.default(&mut object);
        assert_eq!(object["spec"]["hard"]["limits.cpu"], "1");
        assert_eq!(show(&ResourceQuota.validate(&object)), "");
        let shown = json!({"status": {"hard": {"pods": "10", "limits.cpu": "1", "cpu": "2"}, "used": {"pods": "3"}}});
        assert_eq!(
            cells::show(&rows()[0], &shown, "2026-01-01T00:00:00Z"),
            ["cpu: 0/2, pods: 3/10", "limits.cpu: 0/1", "<unknown>"]
        );
        let cases = [
            (
                json!({"hard": {"pods": "1.5"}}),
                "spec.hard[pods]: Invalid value: \"1.5\": must be an integer",
            ),
            (
                json!({"hard": {"secrets": "1"}, "scopes": ["BestEffort"]}),
                "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource",
            ),
            (
                json!({"scopes": ["Terminating", "NotTerminating"]}),
                "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\"]: conflicting scopes",
            ),
        ];
        for (spec, text) in cases {
            assert_eq!(show(&ResourceQuota.validate(&json!({"spec": spec}))), text);
        }
    }
}
