//! `v1 Service`: one name and address for a set of pods.
//!
//! Cluster addresses, node ports and the IP families are given by the API server's allocator, which runs after
//! validation: what is still missing here is no fault.

mod columns;
mod update;
mod validate;

pub(super) use columns::balancer;
pub(super) use validate::endpoint_address;

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::{row, tree};
use crate::object::SelectableFields;
use crate::resource::{NameRule, Names, Resource, Strategy, Subresource};

struct Service;

/// Seconds that a client stays with an endpoint under `ClientIP` affinity.
const AFFINITY_SECONDS: i64 = 10_800;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["svc"]),
        categories: Names::Static(&["all"]),
        subresources: vec![
            Subresource {
                name: "proxy",
                kind: "ServiceProxyOptions",
                group: "",
                version: "",
                verbs: &["create", "delete", "get", "patch", "update"],
            },
            Subresource::STATUS,
        ],
        columns: columns::columns(),
        name_rule: NameRule::Label1035,
        has_status: true,
        create_on_update: true,
        shows_deleted: true,
        ..row("", "v1", "Service", "services", &Service)
    }]
}

/// Whether the Service is of the type.
fn is_type(service: &Value, kind: &str) -> bool {
    tree::text(service, "/spec/type") == kind
}

/// Whether clients outside the cluster may reach it.
fn is_external(service: &Value) -> bool {
    let has_external_address =
        is_type(service, "ClusterIP") && !tree::list(service, "/spec/externalIPs").is_empty();
    is_type(service, "LoadBalancer") || is_type(service, "NodePort") || has_external_address
}

/// Whether it has no address of its own on purpose.
fn is_headless(service: &Value) -> bool {
    tree::list(service, "/spec/clusterIPs") == [json!("None")]
        || tree::text(service, "/spec/clusterIP") == "None"
}

/// Whether load balancers ask nodes for the health of their endpoints.
fn needs_health_check(service: &Value) -> bool {
    is_type(service, "LoadBalancer")
        && tree::text(service, "/spec/externalTrafficPolicy") == "Local"
}

fn fill_affinity(spec: &mut Value) {
    tree::fill_zero(spec, "sessionAffinity", "None");
    match tree::text(spec, "/sessionAffinity") {
        "None" => drop(tree::remove(spec, "sessionAffinityConfig")),
        "ClientIP"
            if tree::at(spec, "/sessionAffinityConfig/clientIP/timeoutSeconds").is_none() =>
        {
            let config = json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}});
            tree::set(spec, "sessionAffinityConfig", config);
        }
        _ => {}
    }
}

fn fill_port(port: &mut Value) {
    tree::fill_zero(port, "protocol", "TCP");
    if let Some(number) = port.get("port").cloned() {
        tree::fill_zero(port, "targetPort", number);
    }
}

impl Strategy for Service {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        fill_affinity(spec);
        tree::fill_zero(spec, "type", "ClusterIP");
        tree::each(spec, "ports", fill_port);
        if is_external(object) {
            let spec = tree::make(object, "spec");
            tree::fill_zero(spec, "externalTrafficPolicy", "Cluster");
        }
        let is_balanced = is_type(object, "LoadBalancer");
        let spec = tree::make(object, "spec");
        if matches!(tree::text(spec, "/type"), "ClusterIP" | "NodePort" | "LoadBalancer") {
            tree::fill(spec, "internalTrafficPolicy", "Cluster");
        }
        if is_balanced {
            tree::fill(spec, "allocateLoadBalancerNodePorts", true);
        }
        let balancer = tree::make(tree::make(object, "status"), "loadBalancer");
        tree::each(balancer, "ingress", |ingress| {
            if is_balanced && !tree::text(ingress, "/ip").is_empty() {
                tree::fill(ingress, "ipMode", "VIP");
            }
        });
    }

    fn prepare_for_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({"loadBalancer": {}}));
        update::normalize_addresses(object, None);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value) {
        update::keep_allocated(new, old);
        update::normalize_addresses(new, Some(old));
        update::drop_fields_of_old_type(new, old);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        validate::service(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut errors = update::validate(new, old);
        errors.extend(validate::service(new));
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        validate::status(new)
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if is_headless(new) && !tree::text(new, "/spec/loadBalancerIP").is_empty() {
            warnings.push(
                "spec.loadBalancerIP is ignored when spec.clusterIP is set to \"None\"".to_owned(),
            );
        }
        if is_headless(new) && !tree::list(new, "/spec/externalIPs").is_empty() {
            warnings.push(
                "spec.externalIPs is ignored when spec.clusterIP is set to \"None\"".to_owned(),
            );
        }
        if is_headless(new) && tree::text(new, "/spec/sessionAffinity") == "ClientIP" {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
        if is_type(new, "ExternalName") && tree::text(new, "/spec/sessionAffinity") == "ClientIP" {
            warnings.push(
                "spec.SessionAffinity is ignored when spec.type is set to \"ExternalName\""
                    .to_owned(),
            );
        }
        if is_type(new, "ExternalName") && !tree::list(new, "/spec/externalIPs").is_empty() {
            warnings
                .push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
        }
        warnings
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        vec![
            ("spec.clusterIP", tree::text(object, "/spec/clusterIP").into()),
            ("spec.type", tree::text(object, "/spec/type").into()),
        ]
    }
}

#[cfg(test)]
mod tests;
