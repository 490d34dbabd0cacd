//! `v1 PersistentVolume`: a piece of storage in the cluster.
//!
//! `status.lastPhaseTransitionTime` is set by the API server, which knows the time.

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::persistent_volume_claim::{access_modes, class, modes, or_unset, phase};
use crate::kinds::pod_spec::{affinity, defaults, volume_sources};
use crate::kinds::{amounts, cells, row, tree};
use crate::name;
use crate::resource::{Cell, Column, Names, Resource, Scope, Strategy, Subresource};

struct PersistentVolume;

/// Fields of the spec that are not the source.
const OTHER_FIELDS: [&str; 9] = [
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["pv"]),
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        columns: columns(),
        has_status: true,
        shows_deleted: true,
        ..row("", "v1", "PersistentVolume", "persistentvolumes", &PersistentVolume)
    }]
}

fn columns() -> Vec<Column> {
    vec![
        Column::new(
            "Capacity",
            Cell::Compute(|o, _| cells::number_or_text(o, "/spec/capacity/storage", "0").into()),
        ),
        Column::new("Access Modes", Cell::Compute(|o, _| modes(o, "/spec/accessModes").into())),
        Column::new("Reclaim Policy", Cell::Pointer("/spec/persistentVolumeReclaimPolicy")),
        Column::new("Status", Cell::Compute(|o, _| phase(o).into())),
        Column::new("Claim", Cell::Compute(|o, _| claim(o).into())),
        Column::new("StorageClass", Cell::Compute(|o, _| class(o).into())),
        Column::new(
            "VolumeAttributesClass",
            Cell::Compute(|o, _| or_unset(o, "/spec/volumeAttributesClassName").into()),
        ),
        Column::new("Reason", Cell::Pointer("/status/reason")),
        cells::age(),
        Column::wide("VolumeMode", Cell::Compute(|o, _| or_unset(o, "/spec/volumeMode").into())),
    ]
}

fn claim(object: &Value) -> String {
    match tree::at(object, "/spec/claimRef") {
        Some(claim) => {
            format!("{}/{}", tree::text(claim, "/namespace"), tree::text(claim, "/name"))
        }
        None => String::new(),
    }
}

/// The source alone.
fn source(spec: &Value) -> Value {
    let mut source = spec.clone();
    for field in OTHER_FIELDS {
        tree::remove(&mut source, field);
    }
    source
}

fn validate_capacity(at: &At<'_>, faults: &mut Faults) {
    if at.len() == 0 {
        faults.required(at, "");
    }
    if at.len() != 1 || !at.get("storage").is_set() {
        let shown = if at.is_set() { at.value.clone() } else { json!({}) };
        faults.not_supported(&At { value: &shown, path: at.path.clone() }, &["storage"]);
    }
    for (_, amount) in at.entries() {
        amounts::positive(&amount, faults);
    }
}

fn validate_spec(at: &At<'_>, faults: &mut Faults) {
    let modes = at.get("accessModes");
    if modes.len() == 0 {
        faults.required(&modes, "");
    }
    access_modes(&modes, faults);
    validate_capacity(&at.get("capacity"), faults);
    let policy = at.get("persistentVolumeReclaimPolicy");
    if !policy.is_zero() {
        faults.optional_one_of(&policy, &["Delete", "Recycle", "Retain"]);
    }
    affinity::volume_node_affinity(&at.get("nodeAffinity"), faults);
    let found = source(at.value);
    let sources = At { value: &found, path: at.path.clone() };
    volume_sources::of_persistent_volume(&sources, faults);
    let is_root = at.get2("hostPath", "path").text() == "/";
    if is_root && policy.text() == "Recycle" {
        faults.forbidden(&policy, "may not be 'recycle' for a hostPath mount of '/'");
    }
    for class in ["storageClassName", "volumeAttributesClassName"] {
        if !at.get(class).is_zero() {
            faults.rule(&at.get(class), name::subdomain);
        }
    }
    faults.optional_one_of(&at.get("volumeMode"), &["Block", "Filesystem"]);
}

impl Strategy for PersistentVolume {
    fn default(&self, object: &mut Value) {
        tree::fill_zero(tree::make(object, "status"), "phase", "Pending");
        let spec = tree::make(object, "spec");
        tree::fill_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
        tree::fill(spec, "volumeMode", "Filesystem");
        if let Some(capacity) = tree::child(spec, "capacity") {
            defaults::resource_list(capacity);
        }
        defaults::volume_source(spec);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({"phase": "Pending"}));
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate_spec(&At::root(object).get("spec"), &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        let at = At::root(new).get("spec");
        let mut new_source = source(at.value);
        if tree::at(old, "/spec/csi/controllerExpandSecretRef").is_none()
            && let Some(csi) = tree::child(&mut new_source, "csi")
        {
            tree::remove(csi, "controllerExpandSecretRef");
        }
        if !tree::same(&new_source, &source(&old["spec"])) {
            faults.forbidden(
                &at.named("persistentvolumesource"),
                "spec.persistentvolumesource is immutable after creation",
            );
        }
        let root = At::root(new);
        let mode = At { value: at.get("volumeMode").value, path: root.named("volumeMode").path };
        faults.immutable(&mode, &At::root(old).get2("spec", "volumeMode"));
        if tree::at(old, "/spec/nodeAffinity").is_some() {
            let place =
                At { value: at.get("nodeAffinity").value, path: root.named("nodeAffinity").path };
            faults.immutable_because(
                &place,
                &At::root(old).get2("spec", "nodeAffinity"),
                "field is immutable, except for updating from beta label to GA",
            );
        }
        let had_class = tree::at(old, "/spec/volumeAttributesClassName").is_some();
        if had_class && !at.get("volumeAttributesClassName").is_set() {
            faults.forbidden(
                &at.get("volumeAttributesClassName"),
                "update from non-nil value to nil is forbidden",
            );
        }
        faults.0
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        let is_same = tree::same_at(new, old, "/status/phase");
        let status = tree::make(new, "status");
        if is_same && tree::at(status, "/lastPhaseTransitionTime").is_none() {
            tree::restore(status, &old["status"], "lastPhaseTransitionTime");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::check::show;

    fn sample() -> Value {
        let mut object = json!({"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1024Mi"}, "hostPath": {"path": "/data"},
            "claimRef": {"namespace": "n", "name": "c"}}});
        PersistentVolume.default(&mut object);
        object
    }

    #[test]
    fn defaults_and_columns() {
        let object = sample();
        assert_eq!(object["spec"]["capacity"]["storage"], "1Gi");
        assert_eq!(object["spec"]["hostPath"]["type"], "");
        assert_eq!(show(&PersistentVolume.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            [
                "1Gi",
                "RWO",
                "Retain",
                "Pending",
                "n/c",
                "",
                "<unset>",
                "",
                "<unknown>",
                "Filesystem"
            ]
        );
    }

    #[test]
    fn faults_read_as_upstreams() {
        let mut object = sample();
        object["spec"]["capacity"] = json!({});
        tree::remove(&mut object["spec"], "hostPath");
        assert_eq!(
            show(&PersistentVolume.validate(&object)),
            "spec.capacity: Required value\n\
             spec.capacity: Unsupported value: {}: supported values: \"storage\"\n\
             spec: Required value: must specify a volume type"
        );
        let mut new = sample();
        new["spec"]["hostPath"]["path"] = json!("/other");
        assert_eq!(
            show(&PersistentVolume.validate_update(&new, &sample())),
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
        );
    }
}
