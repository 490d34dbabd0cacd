//! What may change in a Pod, and what its status may become.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{network, pod_spec, tree};
use crate::name;

const MIRROR: &str = "kubernetes.io/config.mirror";
const SECONDS_RANGE: &str = "must be between 0 and 2147483647, inclusive";
/// The fields that may change, as upstream lists them.
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What a new Pod may not have.
pub(super) fn creation_only(pod: &At<'_>, faults: &mut Faults) {
    let spec = pod.get("spec");
    if spec.get("ephemeralContainers").len() > 0 {
        faults.forbidden(&spec.get("ephemeralContainers"), "cannot be set on create");
    }
    if !spec.get("nodeName").is_zero() && spec.get("schedulingGates").len() > 0 {
        faults.forbidden(
            &spec.get("nodeName"),
            "cannot be set until all schedulingGates have been cleared",
        );
    }
    let annotations = pod.get2("metadata", "annotations");
    if let Some(value) = annotations.value.get(MIRROR)
        && spec.get("nodeName").is_zero()
    {
        let place = At { value, path: annotations.path.key(MIRROR) };
        faults.invalid(&place, "must set spec.nodeName if mirror pod annotation is set");
    }
}

/// Checks that hold for every Pod, new or changed.
pub(super) fn metadata_and_spec(pod: &At<'_>, faults: &mut Faults) {
    annotations(pod, faults);
    pod_spec::validate::spec(&pod.get("spec"), faults, pod_spec::validate::Place::Pod);
}

fn annotations(pod: &At<'_>, faults: &mut Faults) {
    pod_spec::validate::annotations_of_pod(&pod.get2("metadata", "annotations"), faults);
}

/// The annotation of mirror pods neither comes nor goes.
fn mirror_annotation(new: &Value, old: &Value, faults: &mut Faults) {
    let at = At::root(new).get2("metadata", "annotations");
    let (now, before) =
        (at.value.get(MIRROR), old.pointer("/metadata/annotations").and_then(|a| a.get(MIRROR)));
    let place = At { value: at.value, path: at.path.key(MIRROR) };
    if before.is_none() && now.is_some() {
        faults.forbidden(&place, "may not add mirror pod annotation");
    } else if before != now {
        faults.forbidden(&place, "may not remove or update mirror pod annotation");
    }
}

/// Faults of a changed Pod.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<Error> {
    let pod = At::root(new);
    let spec = pod.get("spec");
    let old_spec = &old["spec"];
    let mut faults = Faults::default();
    if spec.value == old_spec {
        // It was checked when it came: most updates are of labels, annotations and finalizers.
        annotations(&pod, &mut faults);
        mirror_annotation(new, old, &mut faults);
        return faults.0;
    }
    metadata_and_spec(&pod, &mut faults);
    mirror_annotation(new, old, &mut faults);
    for list in ["containers", "initContainers"] {
        let at = spec.get(list);
        if at.len() != tree::list(old_spec, &format!("/{list}")).len() {
            faults.forbidden(&at, "pod updates may not add or remove containers");
            return faults.0;
        }
    }
    if !active_deadline(&spec, old_spec, &mut faults) {
        return faults.0;
    }
    only_added_tolerations(&spec.get("tolerations"), old_spec, &mut faults);
    only_deleted_gates(&spec.get("schedulingGates"), old_spec, &mut faults);
    let mut fixed = spec.value.clone();
    undo_allowed_changes(&mut fixed, old_spec);
    if !tree::list(old_spec, "/schedulingGates").is_empty() {
        gated_changes(&spec, &mut fixed, old_spec, &mut faults);
    }
    if !tree::same(&fixed, old_spec) {
        let text = format!("pod updates may not change fields other than {UPDATABLE}");
        faults.forbidden(&spec, text);
    }
    faults.0
}

/// The deadline may only shrink; whether to go on checking.
fn active_deadline(spec: &At<'_>, old: &Value, faults: &mut Faults) -> bool {
    let at = spec.get("activeDeadlineSeconds");
    let before = tree::int(old, "/activeDeadlineSeconds");
    match (at.int(), before) {
        (Some(now), _) if !(0..=i64::from(i32::MAX)).contains(&now) => {
            faults.invalid(&at, SECONDS_RANGE);
            false
        }
        (Some(now), Some(before)) if before < now => {
            faults.invalid(&at, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            faults.invalid(&at, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn only_added_tolerations(at: &At<'_>, old: &Value, faults: &mut Faults) {
    // All but `tolerationSeconds`.
    let identity = |toleration| {
        ["/key", "/operator", "/value", "/effect"].map(|field| tree::text(toleration, field))
    };
    let present: BTreeSet<[&str; 4]> = at.items().map(|now| identity(now.value)).collect();
    for before in tree::list(old, "/tolerations") {
        if !present.contains(&identity(before)) {
            faults.forbidden(
                at,
                "existing toleration can not be modified except its tolerationSeconds",
            );
            return;
        }
    }
}

fn only_deleted_gates(at: &At<'_>, old: &Value, faults: &mut Faults) {
    let before: BTreeSet<&str> =
        tree::list(old, "/schedulingGates").iter().map(|gate| tree::text(gate, "/name")).collect();
    for gate in at.items() {
        let own_name = gate.get("name").text();
        if !before.contains(own_name) {
            let text =
                format!("only deletion is allowed, but found new scheduling gate '{own_name}'");
            faults.forbidden(&gate, text);
        }
    }
}

/// Puts back the old value of everything that may change.
fn undo_allowed_changes(fixed: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        let before = tree::list(old, &format!("/{list}")).to_vec();
        let mut before = before.iter();
        tree::each(fixed, list, |container| {
            if let Some(before) = before.next() {
                tree::restore(container, before, "image");
            }
        });
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        tree::restore(fixed, old, field);
    }
    let grace = "terminationGracePeriodSeconds";
    let was_negative = tree::int(old, &format!("/{grace}")).is_some_and(|seconds| seconds < 0);
    if was_negative && tree::int(fixed, &format!("/{grace}")) == Some(1) {
        tree::restore(fixed, old, grace);
    }
}

/// A Pod that is still gated may get more narrow about its nodes.
fn gated_changes(spec: &At<'_>, fixed: &mut Value, old: &Value, faults: &mut Faults) {
    let selector = spec.get("nodeSelector");
    let is_narrowed = tree::entries(old, "/nodeSelector")
        .all(|(key, value)| selector.value.get(key) == Some(value));
    if !is_narrowed {
        faults.invalid(
            &selector,
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        );
    }
    tree::restore(fixed, old, "nodeSelector");
    node_affinity_change(&spec.get2("affinity", "nodeAffinity"), old, faults);
    let old_affinity = old.get("affinity").cloned().unwrap_or_default();
    tree::restore(tree::make(fixed, "affinity"), &old_affinity, "nodeAffinity");
}

fn node_affinity_change(at: &At<'_>, old: &Value, faults: &mut Faults) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let Some(before) = tree::at(old, &format!("/affinity/nodeAffinity/{REQUIRED}")) else { return };
    let now = at.get(REQUIRED).get("nodeSelectorTerms");
    let terms = tree::list(before, "/nodeSelectorTerms");
    if terms.is_empty() {
        return;
    }
    if now.len() != terms.len() {
        faults.invalid(
            &now,
            "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
        );
        return;
    }
    for (term, before) in now.items().zip(terms) {
        let is_extended = ["/matchExpressions", "/matchFields"].iter().all(|list| {
            let (have, had) = (tree::list(term.value, list), tree::list(before, list));
            have.len() >= had.len() && have.iter().zip(had).all(|(a, b)| tree::same(a, b))
        });
        if !is_extended {
            faults.invalid(&term, "only additions are allowed (no mutations or deletions)");
        }
    }
}

/// The old field for an address says the same as the first of the new one; who sets both differently means the old.
pub(super) fn settle_addresses(status: &mut Value) {
    let one = tree::text(status, "/podIP").to_owned();
    let first = tree::text(status, "/podIPs/0/ip").to_owned();
    if one.is_empty() && !first.is_empty() {
        tree::set(status, "podIP", first);
    } else if one != first {
        tree::set(status, "podIPs", json!([{"ip": one}]));
    }
}

/// Faults of a changed status.
pub(super) fn validate_status(new: &Value, old: &Value) -> Vec<Error> {
    let status = At::root(new).get("status");
    let mut faults = Faults::default();
    mirror_annotation(new, old, &mut faults);
    let conditions = At::root(new).get2("status", "conditions");
    // Upstream names the conditions of the metadata.
    let path = At::root(new).get2("metadata", "conditions").path;
    for condition in (At { value: conditions.value, path }).items() {
        let kind = condition.named_value("Type", &condition.get("type"));
        if !kind.text().is_empty() {
            faults.qualified(&kind);
        }
    }
    let nominated = status.get("nominatedNodeName");
    if !nominated.is_zero() && !tree::same_at(new, old, "/status/nominatedNodeName") {
        faults.rule(&nominated, name::subdomain);
    }
    faults.immutable(&status.get("qosClass"), &At::root(old).get2("status", "qosClass"));
    state_transitions(new, old, &status, &mut faults);
    addresses(&status.get("podIPs"), &mut faults);
    let hosts = status.get("hostIPs");
    if let Some(first) = hosts.items().next()
        && first.get("ip").text() != status.get("hostIP").text()
    {
        faults.invalid(&first.get("ip"), "must be equal to `hostIP`");
    }
    addresses(&hosts, &mut faults);
    faults.0
}

/// A container that ended, and is not to be restarted, stays so.
fn state_transitions(new: &Value, old: &Value, status: &At<'_>, faults: &mut Faults) {
    let policy = tree::text(old, "/spec/restartPolicy");
    let sidecars: BTreeSet<&str> = tree::list(old, "/spec/initContainers")
        .iter()
        .filter(|container| pod_spec::resources::is_sidecar(container))
        .map(|container| tree::text(container, "/name"))
        .collect();
    for (list, policy) in [
        ("containerStatuses", policy),
        ("initContainerStatuses", policy),
        ("ephemeralContainerStatuses", "Never"),
    ] {
        if policy == "Always" {
            continue;
        }
        let now = tree::list(new, &format!("/status/{list}"));
        for (index, before) in tree::list(old, &format!("/status/{list}")).iter().enumerate() {
            let own_name = tree::text(before, "/name");
            let is_kept_running = list == "initContainerStatuses" && sidecars.contains(own_name);
            let Some(ended) = tree::at(before, "/state/terminated") else { continue };
            let may_retry = policy == "OnFailure" && tree::count(ended, "/exitCode") != 0;
            let is_back = now.iter().any(|status| {
                tree::text(status, "/name") == own_name
                    && tree::at(status, "/state/terminated").is_none()
            });
            if is_back && !may_retry && !is_kept_running {
                let path = status.get(list).path.index(index).child("state");
                faults.forbidden(
                    &At { value: before, path },
                    "may not be transitioned to non-terminated state",
                );
            }
        }
    }
}

/// At most one address of each family, each once.
fn addresses(at: &At<'_>, faults: &mut Faults) {
    let mut families = Vec::new();
    for item in at.items() {
        match network::parse_ip(item.get("ip").text()) {
            Some(ip) => families.push(ip.is_ipv4()),
            None => faults.invalid_as(&item, item.get("ip").text(), network::IP_TEXT),
        }
    }
    if at.len() <= 1 {
        return;
    }
    if at.len() > 2 || families.first() == families.get(1) {
        faults.invalid(at, "may specify no more than one IP for each IP family");
    }
    let mut seen = BTreeSet::new();
    for item in at.items() {
        if !seen.insert(item.get("ip").text()) {
            faults.duplicate(&item);
        }
    }
}
