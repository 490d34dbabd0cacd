//! What the subresources `ephemeralcontainers` and `resize` of a Pod may change, and how long it may take to end.

use serde_json::Value;

use super::update::metadata_and_spec;
use crate::field::{Error, Path};
use crate::kinds::check::{At, Faults};
use crate::kinds::{pod_spec, tree};
use crate::meta;

const MIRROR: &str = "kubernetes.io/config.mirror";

/// The old Pod with nothing but the new `ephemeralContainers`.
pub(super) fn prepare_ephemeral_containers(new: &mut Value, old: &Value) {
    let containers = new.pointer("/spec/ephemeralContainers").cloned();
    *new = with_identity_of(new, old);
    let spec = tree::make(new, "spec");
    match containers {
        Some(containers) => tree::set(spec, "ephemeralContainers", containers),
        None => drop(tree::remove(spec, "ephemeralContainers")),
    }
}

/// Faults of changed `ephemeralContainers`: they may come, but neither change nor go.
pub(super) fn validate_ephemeral_containers(new: &Value, old: &Value) -> Vec<Error> {
    let pod = At::root(new);
    if meta::annotation(old, MIRROR).is_some() {
        return vec![Error::forbidden(
            &Path::root(),
            "static pods do not support ephemeral containers",
        )];
    }
    let mut faults = Faults::default();
    metadata_and_spec(&pod, &mut faults);
    let at = pod.get2("spec", "ephemeralContainers");
    for before in tree::list(old, "/spec/ephemeralContainers") {
        let own_name = tree::text(before, "/name");
        let now = at.items().find(|container| container.get("name").text() == own_name);
        match now {
            None => faults.forbidden(
                &at,
                format!("existing ephemeral containers \"{own_name}\" may not be removed\n"),
            ),
            Some(now) if !tree::same(now.value, before) => faults.forbidden(
                &at,
                format!("existing ephemeral containers \"{own_name}\" may not be changed\n"),
            ),
            Some(_) => {}
        }
    }
    faults.0
}

/// The old Pod with nothing but the new resources and resize policies of its containers.
pub(super) fn prepare_resize(new: &mut Value, old: &Value) {
    let mut result = with_identity_of(new, old);
    for list in ["containers", "initContainers"] {
        let wanted = tree::list(new, &format!("/spec/{list}")).to_vec();
        tree::each(tree::make(&mut result, "spec"), list, |container| {
            let own_name = tree::text(container, "/name").to_owned();
            if let Some(new) = wanted.iter().find(|c| tree::text(c, "/name") == own_name) {
                tree::restore(container, new, "resources");
                tree::restore(container, new, "resizePolicy");
            }
        });
    }
    *new = result;
}

/// Faults of a resize: cpu and memory alone change, none is removed, and the quality of service stays.
pub(super) fn validate_resize(new: &Value, old: &Value) -> Vec<Error> {
    let pod = At::root(new);
    let spec = pod.get("spec");
    let mut faults = Faults::default();
    if meta::annotation(old, MIRROR).is_some() {
        return vec![Error::forbidden(&Path::root(), "static pods cannot be resized")];
    }
    if tree::text(old, "/spec/os/name") == "windows" {
        return vec![Error::forbidden(&Path::root(), "windows pods cannot be resized")];
    }
    metadata_and_spec(&pod, &mut faults);
    let quality = |pod: &Value| pod_spec::resources::quality_of_service(&pod["spec"]);
    if quality(new) != quality(old) {
        faults.invalid_as(
            &spec,
            tree::text(new, "/status/qosClass"),
            "Pod QOS Class may not change as a result of resizing",
        );
    }
    let mut fixed = spec.value.clone();
    for list in ["containers", "initContainers"] {
        let before = tree::list(old, &format!("/spec/{list}"));
        for (container, before) in spec.get(list).items().zip(before) {
            removed_resources(&container, before, &mut faults);
        }
        let mut before = before.iter();
        tree::each(&mut fixed, list, |container| {
            if let Some(before) = before.next() {
                restore_cpu_and_memory(container, before);
            }
        });
    }
    if !tree::same(&fixed, &old["spec"]) {
        faults.forbidden(&spec, "only cpu and memory resources are mutable\n");
    }
    faults.0
}

fn removed_resources(container: &At<'_>, before: &Value, faults: &mut Faults) {
    for (which, text) in [
        ("requests", "resource requests cannot be removed"),
        ("limits", "resource limits cannot be removed"),
    ] {
        let now = container.get2("resources", which);
        let mut had = tree::entries(before, &format!("/resources/{which}"));
        if had.any(|(name, _)| !now.get(name).is_set()) {
            faults.forbidden(&now, text);
        }
    }
}

fn restore_cpu_and_memory(container: &mut Value, before: &Value) {
    tree::restore(container, before, "resizePolicy");
    let old = before.get("resources").cloned().unwrap_or_default();
    let resources = tree::make(container, "resources");
    for which in ["requests", "limits"] {
        let old_list = old.get(which).cloned().unwrap_or_default();
        if let Some(list) = tree::child(resources, which) {
            for name in ["cpu", "memory"] {
                tree::restore(list, &old_list, name);
            }
        }
    }
}

/// The old Pod under the identity that the client sent.
fn with_identity_of(new: &Value, old: &Value) -> Value {
    let mut result = old.clone();
    for field in ["name", "namespace", "resourceVersion", "uid", "managedFields"] {
        if let Some(value) = meta::get(new, field) {
            meta::set(&mut result, field, value.clone());
        }
    }
    result
}

/// Seconds that a Pod gets to end when it is deleted: what was asked for, or what it says itself; none when it
/// is on no node or has ended already.
pub fn grace_period(pod: &Value, requested_seconds: Option<i64>) -> i64 {
    let own = tree::int(pod, "/spec/terminationGracePeriodSeconds").unwrap_or_default();
    let is_over = matches!(tree::text(pod, "/status/phase"), "Failed" | "Succeeded");
    if tree::text(pod, "/spec/nodeName").is_empty() || is_over {
        return 0;
    }
    match requested_seconds.unwrap_or(own) {
        ..0 => 1,
        seconds => seconds,
    }
}
