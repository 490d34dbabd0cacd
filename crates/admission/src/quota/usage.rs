//! What an object uses up, by kind.

use std::collections::{BTreeMap, BTreeSet};

use api::quantity::Quantity;
use api::resource::Resource;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Amounts;
use crate::{pods, tree};

const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";
const DEVICE_CLASS_SUFFIX: &str = ".deviceclass.resource.k8s.io/devices";
/// Devices that a request for all of them counts as.
const ALL_DEVICES: i64 = 32;
/// Resources of pods beside counts, huge pages and extended ones.
const POD_RESOURCES: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// Resources that every container must name where a quota bounds them.
const MUST_BE_NAMED: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Kinds that are counted under their bare plural too.
const ALIASED: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// `count/deployments.apps`: under which name a kind's objects are counted.
pub fn countable_name(resource: &Resource) -> String {
    format!("count/{}", api::status::qualified(&resource.group, &resource.plural))
}

fn place(resource: &Resource) -> (&str, &str) {
    (&resource.group, &resource.plural)
}

/// Whether a quota's resource has to do with objects of a kind.
pub(super) fn concerns(resource: &Resource, name: &str) -> bool {
    if name == countable_name(resource) {
        return true;
    }
    match place(resource) {
        ("", "pods") => {
            let extended = name
                .strip_prefix("requests.")
                .is_some_and(|rest| rest.contains('/') && !rest.contains("kubernetes.io/"));
            POD_RESOURCES.contains(&name)
                || name.starts_with("hugepages-")
                || name.starts_with("requests.hugepages-")
                || extended
        }
        ("", "services") => {
            matches!(name, "services" | "services.nodeports" | "services.loadbalancers")
        }
        ("", "persistentvolumeclaims") => {
            let storage = ["persistentvolumeclaims", "requests.storage"];
            let of_class =
                name.split_once(CLASS_SUFFIX).is_some_and(|(_, what)| storage.contains(&what));
            storage.contains(&name) || of_class
        }
        ("resource.k8s.io", "resourceclaims") => name.ends_with(DEVICE_CLASS_SUFFIX),
        ("", plural) => ALIASED.contains(&plural) && name == plural,
        _ => false,
    }
}

/// What an object uses up.
pub fn usage(resource: &Resource, object: &Value, now: Timestamp) -> Amounts {
    let one = Quantity::from_units(1);
    let mut used = Amounts::from([(countable_name(resource), one)]);
    match place(resource) {
        ("", "pods") if still_counts(object, now) => {
            let spec = object.get("spec").unwrap_or(&Value::Null);
            let requests = pods::total_with_overhead(spec, "requests");
            let limits = pods::total_with_overhead(spec, "limits");
            used.extend(pod_resources(&requests, &limits));
        }
        ("", "services") => used.extend(service(object)),
        ("", "persistentvolumeclaims") => used.extend(claim(object)),
        ("resource.k8s.io", "resourceclaims") => used.extend(devices(object)),
        ("", plural) if ALIASED.contains(&plural) => {
            used.insert(plural.to_owned(), one);
        }
        _ => {}
    }
    used
}

/// A pod that has ended, or should have, uses nothing.
fn still_counts(pod: &Value, now: Timestamp) -> bool {
    if matches!(tree::text(pod, "/status/phase"), "Failed" | "Succeeded") {
        return false;
    }
    let deleted = tree::text(pod, "/metadata/deletionTimestamp").parse::<Timestamp>().ok();
    let grace = tree::int(pod, "/metadata/deletionGracePeriodSeconds");
    match (deleted, grace) {
        (Some(deleted), Some(grace)) => now <= deleted + SignedDuration::from_secs(grace),
        _ => true,
    }
}

fn pod_resources(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::from([("pods".to_owned(), Quantity::from_units(1))]);
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = requests.get(name) {
            used.insert(name.to_owned(), *amount);
            used.insert(format!("requests.{name}"), *amount);
        }
        if let Some(amount) = limits.get(name) {
            used.insert(format!("limits.{name}"), *amount);
        }
    }
    for (name, amount) in requests {
        let extended = name.contains('/')
            && !name.contains("kubernetes.io/")
            && !name.starts_with("requests.");
        if name.starts_with("hugepages-") {
            used.insert(name.clone(), *amount);
        }
        if name.starts_with("hugepages-") || extended {
            used.insert(format!("requests.{name}"), *amount);
        }
    }
    used
}

fn service(object: &Value) -> Amounts {
    let count = |number: usize| Quantity::from_units(i64::try_from(number).unwrap_or(i64::MAX));
    let ports = tree::list(object, "/spec/ports");
    let kind = tree::text(object, "/spec/type");
    let explicit =
        ports.iter().filter(|port| tree::int(port, "/nodePort").unwrap_or(0) != 0).count();
    let suppressed = tree::flag(object, "/spec/allocateLoadBalancerNodePorts") == Some(false);
    let node_ports = match kind {
        "LoadBalancer" if suppressed => explicit,
        "NodePort" | "LoadBalancer" => ports.len(),
        _ => 0,
    };
    Amounts::from([
        ("services".to_owned(), count(1)),
        ("services.nodeports".to_owned(), count(node_ports)),
        ("services.loadbalancers".to_owned(), count(usize::from(kind == "LoadBalancer"))),
    ])
}

fn claim(object: &Value) -> Amounts {
    let one = Quantity::from_units(1);
    let class = match api::meta::annotation(object, "volume.beta.kubernetes.io/storage-class") {
        Some(class) => class,
        None => tree::text(object, "/spec/storageClassName"),
    };
    let mut used = Amounts::from([("persistentvolumeclaims".to_owned(), one)]);
    let amount =
        |pointer| tree::at(object, pointer).and_then(|size| Quantity::from_json(size).ok());
    let asked = amount("/spec/resources/requests/storage");
    let size = asked.map(|asked| match amount("/status/allocatedResources/storage") {
        Some(allocated) if allocated > asked => allocated,
        _ => asked,
    });
    if let Some(size) = size {
        used.insert("requests.storage".to_owned(), size);
    }
    if !class.is_empty() {
        used.insert(format!("{class}{CLASS_SUFFIX}persistentvolumeclaims"), one);
        if let Some(size) = size {
            used.insert(format!("{class}{CLASS_SUFFIX}requests.storage"), size);
        }
    }
    used
}

fn devices(object: &Value) -> Amounts {
    let mut used = Amounts::new();
    for request in tree::list(object, "/spec/devices/requests") {
        // Of alternatives the largest counts.
        let exact = tree::at(request, "/exactly").unwrap_or(request);
        let alternatives = tree::list(request, "/firstAvailable");
        let wanted =
            if alternatives.is_empty() { vec![exact] } else { alternatives.iter().collect() };
        let mut by_class: BTreeMap<&str, i64> = BTreeMap::new();
        for one in wanted {
            let count = match tree::text(one, "/allocationMode") {
                "All" => ALL_DEVICES,
                _ => tree::int(one, "/count").unwrap_or(1),
            };
            let most = by_class.entry(tree::text(one, "/deviceClassName")).or_insert(0);
            *most = (*most).max(count);
        }
        for (class, count) in by_class {
            let sum = used.entry(format!("{class}{DEVICE_CLASS_SUFFIX}")).or_insert(Quantity::ZERO);
            *sum = *sum + Quantity::from_units(count);
        }
    }
    used
}

/// What a pod fails to name of the resources that a quota bounds.
pub(super) fn lacking(resource: &Resource, object: &Value, names: &[String]) -> Option<String> {
    if place(resource) != ("", "pods") {
        return None;
    }
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let of_pod = ["/resources/requests", "/resources/limits"];
    if of_pod.iter().any(|pointer| !pods::amounts(tree::at(spec, pointer)).is_empty()) {
        return None;
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let lists = ["/containers", "/initContainers"];
    for container in lists.iter().flat_map(|list| tree::list(spec, list)) {
        let amounts = |field| pods::amounts(tree::at(container, field));
        let named = pod_resources(&amounts("/resources/requests"), &amounts("/resources/limits"));
        for name in names.iter().filter(|name| MUST_BE_NAMED.contains(&name.as_str())) {
            if !named.contains_key(name) {
                missing.entry(name).or_default().insert(tree::text(container, "/name"));
            }
        }
    }
    let texts = missing
        .into_iter()
        .map(|(name, containers)| format!("{name} for: {}", Vec::from_iter(containers).join(",")));
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| format!("must specify {}", texts.join("; ")))
}

/// Whether an object is within a scope. Only pods and claims have scopes.
pub(super) fn fits_scope(resource: &Resource, object: &Value, scope: &Value) -> bool {
    let name = tree::text(scope, "/scopeName");
    match (place(resource), name) {
        (("", "pods"), "Terminating") => is_terminating(object),
        (("", "pods"), "NotTerminating") => !is_terminating(object),
        (("", "pods"), "BestEffort") => is_best_effort(object),
        (("", "pods"), "NotBestEffort") => !is_best_effort(object),
        (("", "pods"), "PriorityClass") => {
            selects(scope, tree::text(object, "/spec/priorityClassName"))
        }
        (("", "pods"), "CrossNamespacePodAffinity") => reaches_other_namespaces(object),
        (("", "persistentvolumeclaims"), "VolumeAttributesClass") => {
            selects(scope, tree::text(object, "/spec/volumeAttributesClassName"))
        }
        _ => false,
    }
}

fn selects(scope: &Value, have: &str) -> bool {
    let listed = tree::texts(scope, "/values").any(|value| value == have);
    match tree::text(scope, "/operator") {
        "Exists" => !have.is_empty(),
        "DoesNotExist" => have.is_empty(),
        "In" => !have.is_empty() && listed,
        "NotIn" => have.is_empty() || !listed,
        _ => false,
    }
}

fn is_terminating(pod: &Value) -> bool {
    tree::int(pod, "/spec/activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0)
}

fn is_best_effort(pod: &Value) -> bool {
    let names_any = |holder: &Value| {
        ["/resources/requests", "/resources/limits"].iter().any(|pointer| {
            let amounts = pods::amounts(tree::at(holder, pointer));
            ["cpu", "memory"]
                .iter()
                .any(|name| amounts.get(*name).is_some_and(|amount| !amount.is_zero()))
        })
    };
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let lists = ["/containers", "/initContainers"];
    !names_any(spec) && !lists.iter().flat_map(|list| tree::list(spec, list)).any(names_any)
}

fn reaches_other_namespaces(pod: &Value) -> bool {
    let reaches = |term: &Value| {
        !tree::list(term, "/namespaces").is_empty()
            || tree::at(term, "/namespaceSelector").is_some()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let list = |mode: &str| tree::list(pod, &format!("/spec/affinity/{kind}/{mode}"));
        let preferred = list("preferredDuringSchedulingIgnoredDuringExecution").iter();
        list("requiredDuringSchedulingIgnoredDuringExecution").iter().any(reaches)
            || preferred.filter_map(|term| tree::at(term, "/podAffinityTerm")).any(reaches)
    })
}
