//! `v1 Node`: a machine that runs pods. Unlike other kinds it may be created with its status.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::pod_spec::{defaults, placement};
use crate::kinds::{cells, network, row, tree};
use crate::name;
use crate::object::SelectableFields;
use crate::resource::{Cell, Column, Names, Resource, Scope, Strategy, Subresource};

struct Node;

/// Labels whose key ends in a role.
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
/// The label whose value is a role.
const ROLE_LABEL: &str = "kubernetes.io/role";

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["no"]),
        scope: Scope::Cluster,
        subresources: vec![
            Subresource {
                name: "proxy",
                kind: "NodeProxyOptions",
                group: "",
                version: "",
                verbs: &["create", "delete", "get", "patch", "update"],
            },
            Subresource::STATUS,
        ],
        columns: columns(),
        // Not the status subresource's alone: whoever registers a node says how it is.
        has_status: false,
        ..row("", "v1", "Node", "nodes", &Node)
    }]
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("Status", Cell::Compute(|node, _| state(node).into())),
        Column::new("Roles", Cell::Compute(|node, _| roles(node).into())),
        cells::age(),
        Column::new("Version", Cell::Pointer("/status/nodeInfo/kubeletVersion")),
        Column::wide("Internal-IP", Cell::Compute(|node, _| address(node, "InternalIP").into())),
        Column::wide("External-IP", Cell::Compute(|node, _| address(node, "ExternalIP").into())),
        Column::wide("OS-Image", Cell::Compute(|node, _| info(node, "osImage").into())),
        Column::wide("Kernel-Version", Cell::Compute(|node, _| info(node, "kernelVersion").into())),
        Column::wide(
            "Container-Runtime",
            Cell::Compute(|node, _| info(node, "containerRuntimeVersion").into()),
        ),
    ]
}

fn state(node: &Value) -> String {
    let conditions = tree::list(node, "/status/conditions");
    let ready = conditions.iter().find(|condition| tree::text(condition, "/type") == "Ready");
    let state = match ready.map(|ready| tree::text(ready, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if tree::flag(node, "/spec/unschedulable") {
        format!("{state},SchedulingDisabled")
    } else {
        state.to_owned()
    }
}

fn roles(node: &Value) -> String {
    let roles: BTreeSet<&str> = tree::entries(node, "/metadata/labels")
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    cells::or_none(&roles.into_iter().collect::<Vec<_>>().join(","))
}

fn address(node: &Value, kind: &str) -> String {
    let all = tree::list(node, "/status/addresses");
    let found = all.iter().find(|address| tree::text(address, "/type") == kind);
    cells::or_none(found.map_or("", |address| tree::text(address, "/address")))
}

fn info(node: &Value, field: &str) -> String {
    match tree::text(node, &format!("/status/nodeInfo/{field}")) {
        "" => "<unknown>".to_owned(),
        text => text.to_owned(),
    }
}

fn taints(at: &At<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for taint in at.items() {
        faults.qualified(&taint.get("key"));
        faults.rule(&taint.get("value"), name::label_value);
        placement::taint_effect(&taint.get("effect"), false, faults);
        if !seen.insert((taint.get("effect").text(), taint.get("key").text())) {
            faults.duplicate(&taint);
            if let Some(fault) = faults.0.last_mut() {
                "taints must be unique by key and effect pair".clone_into(&mut fault.detail);
            }
        }
    }
}

fn resources(node: &At<'_>, faults: &mut Faults) {
    for list in ["capacity", "allocatable"] {
        for (key, amount) in node.get2("status", list).entries() {
            faults.qualified_as(&amount, key, key);
            crate::kinds::amounts::non_negative(&amount, faults);
        }
    }
}

fn pod_ranges(node: &At<'_>, faults: &mut Faults) {
    let at = node.get2("spec", "podCIDRs");
    let mut seen = BTreeSet::new();
    for range in at.items() {
        network::cidr(&range, range.text(), faults);
    }
    let is_v4 = |range: At<'_>| network::parse_cidr(range.text()).map(|net| net.addr().is_ipv4());
    let families: BTreeSet<_> = at.items().map(is_v4).collect();
    if at.len() > 1 && (families.len() != 2 || at.len() > 2) {
        faults.invalid(&at, "may specify no more than one CIDR for each IP family");
    }
    for range in at.items() {
        faults.unique(&range, &mut seen);
    }
}

impl Strategy for Node {
    fn default(&self, object: &mut Value) {
        tree::make(object, "spec");
        // The old field says the same as the first of the new one.
        let old = tree::text(object, "/spec/podCIDR").to_owned();
        let spec = tree::make(object, "spec");
        if old.is_empty() {
            if let Some(first) = spec.pointer("/podCIDRs/0").cloned() {
                tree::set(spec, "podCIDR", first);
            }
        } else {
            let firsts = tree::text(spec, "/podCIDRs/0");
            if firsts != old {
                tree::set(spec, "podCIDRs", serde_json::json!([old]));
            }
        }
        let status = tree::make(object, "status");
        if let Some(capacity) = tree::at(status, "/capacity").cloned() {
            tree::fill(status, "allocatable", capacity);
        }
        for list in ["capacity", "allocatable"] {
            if let Some(list) = tree::child(status, list) {
                defaults::resource_list(list);
            }
        }
        let endpoint = tree::make(tree::make(status, "daemonEndpoints"), "kubeletEndpoint");
        tree::fill(endpoint, "Port", 0);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value) {
        tree::restore(new, old, "status");
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let mut faults = Faults::default();
        taints(&at_taints(&at), &mut faults);
        resources(&at, &mut faults);
        pod_ranges(&at, &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let at = At::root(new);
        let mut faults = Faults::default();
        resources(&at, &mut faults);
        let had = tree::list(old, "/spec/podCIDRs");
        if !had.is_empty() && had != tree::list(new, "/spec/podCIDRs") {
            faults.forbidden(
                &at.get2("spec", "podCIDRs"),
                "node updates may not change podCIDR except from \"\" to valid",
            );
        }
        let provider = tree::text(old, "/spec/providerID");
        if !provider.is_empty() && provider != tree::text(new, "/spec/providerID") {
            faults.forbidden(
                &at.get2("spec", "providerID"),
                "node updates may not change providerID except from \"\" to valid",
            );
        }
        taints(&at_taints(&at), &mut faults);
        if !tree::same_at(new, old, "/spec/externalID") {
            faults.forbidden(&at.get2("spec", "externalID"), "may not be updated");
        }
        faults.0
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate_update(new, old));
        let mut seen = BTreeSet::new();
        for address in At::root(new).get2("status", "addresses").items() {
            if !seen.insert((address.get("type").text(), address.get("address").text())) {
                faults.duplicate(&address);
            }
        }
        faults.0
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if tree::at(new, "/spec/configSource").is_some() {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if !tree::text(new, "/spec/externalID").is_empty() {
            warnings.push(
                "spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned(),
            );
        }
        warnings
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        let is_off = tree::flag(object, "/spec/unschedulable").to_string();
        vec![("spec.unschedulable", is_off.into())]
    }
}

/// The taints, under the path that upstream names in faults.
fn at_taints<'a>(node: &At<'a>) -> At<'a> {
    At { value: node.get2("spec", "taints").value, path: node.get2("metadata", "taints").path }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    fn sample() -> Value {
        let mut object = json!({
            "metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {
                "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}},
            "spec": {"podCIDR": "10.1.0.0/24", "unschedulable": true},
            "status": {"capacity": {"cpu": "2000m", "memory": "1024Ki"},
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
                "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Debian"}}});
        Node.default(&mut object);
        object
    }

    #[test]
    fn defaults_and_columns() {
        let object = sample();
        assert_eq!(object["spec"]["podCIDRs"], json!(["10.1.0.0/24"]));
        let mut torn = json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["x", "y"]}});
        Node.default(&mut torn);
        assert_eq!(
            torn["spec"]["podCIDRs"],
            json!(["10.1.0.0/24"]),
            "the old field is heard first"
        );
        assert_eq!(object["status"]["allocatable"], json!({"cpu": "2", "memory": "1Mi"}));
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-02T00:00:00Z"),
            [
                "Ready,SchedulingDisabled",
                "control-plane,worker",
                "24h",
                "v1.37.0",
                "192.0.2.1",
                "<none>",
                "Debian",
                "<unknown>",
                "<unknown>"
            ]
        );
    }

    #[test]
    fn some_fields_are_set_once() {
        let old = sample();
        let mut new = old.clone();
        new["spec"]["podCIDRs"] = json!(["10.2.0.0/24"]);
        new["spec"]["taints"] = json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "X"}]);
        assert_eq!(
            show(&Node.validate_update(&new, &old)),
            "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid\n\
             metadata.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\"}: taints must be unique by key and effect pair\n\
             metadata.taints[2].effect: Unsupported value: \"X\": supported values: \"NoExecute\", \"NoSchedule\", \"PreferNoSchedule\""
        );
    }
}
