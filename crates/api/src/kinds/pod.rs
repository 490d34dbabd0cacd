//! `v1 Pod`: containers that run together on one node.
//!
//! What a pod shares with templates is in [`super::pod_spec`]; the columns and the rules for changes have
//! files of their own below.

mod columns;
pub mod subresources;
mod update;

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::{check, pod_spec, row, tree};
use crate::meta;
use crate::object::SelectableFields;
use crate::resource::{NameRule, Names, Resource, STATUS_VERBS, Strategy, Subresource};

struct Pod;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["po"]),
        categories: Names::Static(&["all"]),
        subresources: subresources_served(),
        columns: columns::columns(),
        name_rule: NameRule::Subdomain,
        has_status: true,
        has_generation: true,
        shows_deleted: true,
        ..row("", "v1", "Pod", "pods", &Pod)
    }]
}

const fn typed(
    name: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { name, kind, group: "", version: "", verbs }
}

fn subresources_served() -> Vec<Subresource> {
    vec![
        typed("attach", "PodAttachOptions", &["create", "get"]),
        typed("binding", "Binding", &["create"]),
        Subresource::own("ephemeralcontainers", STATUS_VERBS),
        Subresource {
            group: "policy",
            version: "v1",
            ..typed("eviction", "Eviction", &["create"])
        },
        typed("exec", "PodExecOptions", &["create", "get"]),
        Subresource::own("log", &["get"]),
        typed("portforward", "PodPortForwardOptions", &["create", "get"]),
        typed("proxy", "PodProxyOptions", &["create", "delete", "get", "patch", "update"]),
        Subresource::own("resize", STATUS_VERBS),
        Subresource::STATUS,
    ]
}

impl Strategy for Pod {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        pod_spec::defaults::pod_only(spec);
        pod_spec::defaults::spec(spec);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        let class = pod_spec::resources::quality_of_service(&object["spec"]);
        let mut status = json!({"phase": "Pending", "qosClass": class});
        if !tree::list(object, "/spec/schedulingGates").is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
        }
        tree::set(object, "status", status);
        let labels = meta::get(object, "labels").cloned().unwrap_or_default();
        if let Some(spec) = tree::child(object, "spec") {
            pod_spec::affinity::apply_match_label_keys(spec, &labels);
        }
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = check::At::root(object);
        let mut faults = check::Faults::default();
        pod_spec::validate::annotations_of_pod(&at.get2("metadata", "annotations"), &mut faults);
        pod_spec::validate::spec(&at.get("spec"), &mut faults, pod_spec::validate::Place::Pod);
        update::creation_only(&at, &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        update::validate(new, old)
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        if tree::text(new, "/status/qosClass").is_empty()
            && let Some(class) = tree::at(old, "/status/qosClass")
        {
            tree::set(tree::make(new, "status"), "qosClass", class.clone());
        }
        update::settle_addresses(tree::make(new, "status"));
        meta::keep(new, old, &["ownerReferences"]);
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        update::validate_status(new, old)
    }

    fn prepare_for_subresource_update(&self, subresource: &str, new: &mut Value, old: &Value) {
        match subresource {
            "ephemeralcontainers" => subresources::prepare_ephemeral_containers(new, old),
            "resize" => subresources::prepare_resize(new, old),
            _ => {}
        }
    }

    fn validate_subresource_update(
        &self,
        subresource: &str,
        new: &Value,
        old: &Value,
    ) -> Vec<Error> {
        match subresource {
            "ephemeralcontainers" => subresources::validate_ephemeral_containers(new, old),
            "resize" => subresources::validate_resize(new, old),
            _ => Vec::new(),
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        if let Err(fault) = crate::name::label(meta::name(new))
            && !meta::name(new).is_empty()
        {
            warnings.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{fault}]"
            ));
        }
        let at = check::At::root(new);
        pod_spec::warnings::of_spec(&at.get("spec"), &mut warnings);
        warnings
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        let host_network = tree::flag(object, "/spec/hostNetwork").to_string();
        let text = |pointer: &str| tree::text(object, pointer).into();
        let mut pod_ip = tree::text(object, "/status/podIPs/0/ip");
        if pod_ip.is_empty() {
            pod_ip = tree::text(object, "/status/podIP");
        }
        vec![
            ("spec.nodeName", text("/spec/nodeName")),
            ("spec.restartPolicy", text("/spec/restartPolicy")),
            ("spec.schedulerName", text("/spec/schedulerName")),
            ("spec.serviceAccountName", text("/spec/serviceAccountName")),
            ("spec.hostNetwork", host_network.into()),
            ("status.phase", text("/status/phase")),
            ("status.podIP", pod_ip.into()),
            ("status.nominatedNodeName", text("/status/nominatedNodeName")),
        ]
    }
}

#[cfg(test)]
mod tests;
