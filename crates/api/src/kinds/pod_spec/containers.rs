//! Containers: what each kind of them may have.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::check::{At, Faults, PORT_RANGE};
use super::super::{amounts, tree};
use super::validate::Context;
use super::{environment, handlers, security, volumes};
use crate::name;
use crate::quantity::Quantity;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ONLY_SIDECARS: &str = "may not be set for init containers without restartPolicy=Always";
/// What debugging containers may not have.
const NOT_EPHEMERAL: [&str; 8] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// What every container has.
fn common(at: &At<'_>, context: &Context<'_>, faults: &mut Faults) {
    faults.required_rule(&at.get("name"), name::label);
    let image = at.get("image");
    if image.is_zero() {
        faults.required(&image, "");
    } else if context.is_pod() && image.text().trim() != image.text() {
        faults.invalid(&image, "must not have leading or trailing whitespace");
    }
    faults.one_of(&at.get("terminationMessagePolicy"), &["FallbackToLogsOnError", "File"]);
    ports(&at.get("ports"), faults);
    environment::variables(&at.get("env"), faults);
    environment::sources(&at.get("envFrom"), faults);
    volumes::mounts(at, &context.volumes, faults);
    volumes::devices(at, &context.volumes, faults);
    faults.one_of(&at.get("imagePullPolicy"), &["Always", "IfNotPresent", "Never"]);
    requirements(&at.get("resources"), true, faults);
    claims(&at.get2("resources", "claims"), context, faults);
    resize_policy(&at.get("resizePolicy"), context, faults);
    security::container(&at.get("securityContext"), context.has_host_users, faults);
}

/// `containers` of a spec.
pub(super) fn main(at: &At<'_>, context: &Context<'_>, faults: &mut Faults) {
    if at.len() == 0 {
        faults.required(at, "");
        return;
    }
    let (mut names, mut host_ports) = (BTreeSet::new(), BTreeSet::new());
    for container in at.items() {
        common(&container, context, faults);
        if !names.insert(container.get("name").text()) {
            faults.duplicate(&container.get("name"));
        }
        handlers::lifecycle(&container.get("lifecycle"), context.grace_seconds, faults);
        handlers::probes(&container, context.grace_seconds, faults);
        if container.get("restartPolicy").is_set() {
            faults.forbidden(
                &container.get("restartPolicy"),
                "may not be set for non-init containers",
            );
        }
        unique_host_ports(&container, &mut host_ports, faults);
    }
}

/// `initContainers` of a spec.
pub(super) fn init(spec: &At<'_>, context: &Context<'_>, faults: &mut Faults) {
    let mut names: BTreeSet<&str> =
        spec.get("containers").items().map(|main| main.get("name").text()).collect();
    for container in spec.get("initContainers").items() {
        common(&container, context, faults);
        let own_name = container.get("name");
        if !own_name.is_zero() && !names.insert(own_name.text()) {
            faults.duplicate(&own_name);
        }
        let policy = container.get("restartPolicy");
        if policy.is_set() && policy.text() != "Always" {
            faults.not_supported(&policy, &["Always"]);
        }
        unique_host_ports(&container, &mut BTreeSet::new(), faults);
        if policy.text() == "Always" {
            handlers::lifecycle(&container.get("lifecycle"), context.grace_seconds, faults);
            handlers::probes(&container, context.grace_seconds, faults);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.get(field).is_set() {
                faults.forbidden(&container.get(field), ONLY_SIDECARS);
            }
        }
    }
}

/// `ephemeralContainers` of a spec.
pub(super) fn ephemeral(spec: &At<'_>, context: &Context<'_>, faults: &mut Faults) {
    let lists = ["containers", "initContainers"].map(|list| spec.get(list));
    let others: BTreeSet<&str> =
        lists.iter().flat_map(At::items).map(|container| container.get("name").text()).collect();
    let mut names = others.clone();
    for container in spec.get("ephemeralContainers").items() {
        common(&container, context, faults);
        if !names.insert(container.get("name").text()) {
            faults.duplicate(&container.get("name"));
        }
        let target = container.get("targetContainerName");
        if !target.is_zero() && !others.contains(target.text()) {
            faults.not_found(&target);
        }
        let text = "cannot be set for an Ephemeral Container";
        for field in NOT_EPHEMERAL {
            if !container.get(field).is_zero() {
                faults.forbidden(&container.get(field), text);
            }
        }
        for mount in container.get("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.get(field).is_zero() {
                    faults.forbidden(&mount.get(field), text);
                }
            }
        }
    }
}

fn ports(at: &At<'_>, faults: &mut Faults) {
    let mut names = BTreeSet::new();
    for port in at.items() {
        let port_name = port.get("name");
        if !port_name.is_zero() {
            match name::port_name(port_name.text()) {
                Err(texts) => texts.into_iter().for_each(|text| faults.invalid(&port_name, text)),
                Ok(()) => faults.unique(&port_name, &mut names),
            }
        }
        let number = port.get("containerPort");
        if number.is_zero() {
            faults.required(&number, "");
        } else {
            faults.port(&number);
        }
        let host = port.get("hostPort").int().unwrap_or_default();
        if host != 0 && !(1..=65535).contains(&host) {
            faults.invalid(&port.get("hostPort"), PORT_RANGE);
        }
        faults.one_of(&port.get("protocol"), &PROTOCOLS);
    }
}

fn unique_host_ports(container: &At<'_>, seen: &mut BTreeSet<String>, faults: &mut Faults) {
    for port in container.get("ports").items() {
        let number = port.get("hostPort").int().unwrap_or_default();
        let (protocol, ip) = (port.get("protocol").text(), port.get("hostIP").text());
        let key = format!("{protocol}/{ip}/{number}");
        if number != 0 && !seen.insert(key.clone()) {
            let shown = json!(key);
            faults.duplicate(&At { value: &shown, path: port.get("hostPort").path });
        }
    }
}

fn resize_policy(at: &At<'_>, context: &Context<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for policy in at.items() {
        let (resource, restart) = (policy.get("resourceName"), policy.get("restartPolicy"));
        if !seen.insert(resource.text()) {
            faults.duplicate(&At { value: resource.value, path: policy.path.clone() });
        }
        let place = |value| At { value, path: at.path.clone() };
        faults.one_of(&place(resource.value), &["cpu", "memory"]);
        faults.one_of(&place(restart.value), &["NotRequired", "RestartContainer"]);
        if context.restart_policy == "Never" && restart.text() != "NotRequired" {
            faults.invalid(
                &place(restart.value),
                "must be 'NotRequired' when `restartPolicy` is 'Never'",
            );
        }
    }
}

/// A resource that containers, or pods as a whole, may ask for.
pub(in super::super) fn resource_name(
    at: &At<'_>,
    resource: &str,
    is_container: bool,
    faults: &mut Faults,
) {
    let is_name = faults.qualified_as(at, resource, resource);
    let is_standard = matches!(resource, "cpu" | "memory" | "ephemeral-storage")
        || resource.starts_with("hugepages-");
    if !is_container {
        if !super::resources::fits_pod_level(resource) {
            faults.not_supported(
                &At { value: &json!(resource), path: at.path.clone() },
                &["cpu", "hugepages-", "memory"],
            );
        }
    } else if !resource.contains('/') {
        if !is_standard {
            if is_name && !amounts::is_known(resource) {
                faults.invalid_as(at, resource, amounts::UNKNOWN_RESOURCE);
            }
            faults.invalid_as(at, resource, "must be a standard resource for containers");
        }
    } else if is_name && !resource.contains("kubernetes.io/") && !amounts::is_extended(resource) {
        faults.invalid_as(at, resource, "doesn't follow extended resource name standard");
    }
}

/// Whether more may be requested on a node than it has limits for.
fn is_overcommit_fine(resource: &str) -> bool {
    let is_native = !resource.contains('/') || resource.contains("kubernetes.io/");
    is_native && !resource.starts_with("hugepages-")
}

/// `limits` and `requests`, of a container or of the pod as a whole.
pub(super) fn requirements(at: &At<'_>, is_container: bool, faults: &mut Faults) {
    let (limits, requests) = (at.get("limits"), at.get("requests"));
    for (resource, amount) in limits.entries().chain(requests.entries()) {
        resource_name(&amount, resource, is_container, faults);
        amounts::non_negative(&amount, faults);
        if amounts::is_whole_only(resource)
            && amounts::read(&amount).is_some_and(|amount| !amount.is_whole())
        {
            faults.invalid(&amount, "must be an integer");
        }
    }
    for (resource, amount) in requests.entries() {
        let limit = At {
            value: limits.value.get(resource).unwrap_or(&serde_json::Value::Null),
            path: limits.path.clone(),
        };
        request_within_limit(resource, &amount, &limit, &requests, faults);
    }
    let has = |wanted: fn(&str) -> bool| {
        limits.entries().chain(requests.entries()).any(|(resource, _)| wanted(resource))
    };
    let has_huge_pages = has(|resource| resource.starts_with("hugepages-"));
    if has_huge_pages && !has(|resource| matches!(resource, "cpu" | "memory")) {
        faults.forbidden(at, "HugePages require cpu or memory");
    }
}

fn request_within_limit(
    resource: &str,
    amount: &At<'_>,
    limit: &At<'_>,
    requests: &At<'_>,
    faults: &mut Faults,
) {
    let Some(request) = amounts::read(amount) else { return };
    let Some(limit_amount) = amounts::read(limit) else {
        if !is_overcommit_fine(resource) {
            faults.required(limit, "Limit must be set for non overcommitable resources");
        }
        return;
    };
    let shown = request.to_string();
    if request != limit_amount && !is_overcommit_fine(resource) {
        let text = format!("must be equal to {resource} limit of {limit_amount}");
        faults.invalid_as(requests, shown, text);
    } else if request > limit_amount {
        let text = format!("must be less than or equal to {resource} limit of {limit_amount}");
        faults.invalid_as(requests, shown, text);
    }
}

fn claims(at: &At<'_>, context: &Context<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for claim in at.items() {
        let (own_name, request) = (claim.get("name").text(), claim.get("request"));
        if own_name.is_empty() {
            faults.required(&claim, "");
            continue;
        }
        if !request.is_zero() {
            faults.rule(&request, name::label);
        }
        if !seen.insert((own_name, request.text())) {
            let shown = json!(own_name);
            faults.duplicate(&At { value: &shown, path: claim.path.clone() });
        }
        if !context.claims.contains(own_name) {
            let shown = json!(own_name);
            faults.not_found(&At { value: &shown, path: claim.path.clone() });
        }
    }
}

/// Resources of the pod as a whole against those of its containers.
pub(super) fn pod_level(spec: &At<'_>, faults: &mut Faults) {
    let at = spec.get("resources");
    if !at.is_set() {
        return;
    }
    if at.get("claims").is_set() {
        faults.forbidden(&at.get("claims"), "claims cannot be set for Resources at pod-level");
    }
    requirements(&at, false, faults);
    let requests = at.get("requests");
    for (resource, needed) in super::resources::aggregate(spec.value, "requests") {
        let own = requests.get(&resource);
        let have = amounts::read(&own).unwrap_or(Quantity::ZERO);
        if needed > have {
            let place = At { value: own.value, path: requests.path.key(&resource) };
            let text = format!(
                "must be greater than or equal to aggregate container requests of {needed}"
            );
            faults.invalid_as(&place, have.to_string(), text);
        }
    }
    for (index, container) in tree::list(spec.value, "/containers").iter().enumerate() {
        for (resource, amount) in tree::entries(container, "/resources/limits") {
            let limit = Quantity::from_json(amount).unwrap_or_default();
            let Some(most) = amounts::read(&at.get2("limits", resource)) else { continue };
            if limit > most {
                let path = at.path.child("containers").index(index).key(resource).child("limits");
                let text = format!("must be less than or equal to pod limits of {most}");
                faults.invalid_as(&At { value: amount, path }, limit.to_string(), text);
            }
        }
    }
}
