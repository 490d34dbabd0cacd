//! `v1 PersistentVolumeClaim`: a request for storage.

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{amounts, cells, pod_spec, row, tree};
use crate::meta;
use crate::name;
use crate::quantity::Quantity;
use crate::resource::{Cell, Column, Names, Resource, Strategy, Subresource};

struct PersistentVolumeClaim;

/// The annotation that named the class before the field did.
pub(super) const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["pvc"]),
        subresources: vec![Subresource::STATUS],
        columns: columns(),
        has_status: true,
        shows_deleted: true,
        ..row("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", &PersistentVolumeClaim)
    }]
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("Status", Cell::Compute(|o, _| phase(o).into())),
        Column::new("Volume", Cell::Pointer("/spec/volumeName")),
        Column::new("Capacity", Cell::Compute(|o, _| capacity(o).into())),
        Column::new("Access Modes", Cell::Compute(|o, _| bound_modes(o).into())),
        Column::new("StorageClass", Cell::Compute(|o, _| class(o).into())),
        Column::new(
            "VolumeAttributesClass",
            Cell::Compute(|o, _| or_unset(o, "/spec/volumeAttributesClassName").into()),
        ),
        cells::age(),
        Column::wide("VolumeMode", Cell::Compute(|o, _| or_unset(o, "/spec/volumeMode").into())),
    ]
}

/// `status.phase`, or that the object is on its way out.
pub(super) fn phase(object: &Value) -> String {
    let phase = tree::text(object, "/status/phase");
    (if meta::is_deleting(object) { "Terminating" } else { phase }).to_owned()
}

/// A text field, `<unset>` when missing.
pub(super) fn or_unset(object: &Value, pointer: &str) -> String {
    cells::number_or_text(object, pointer, "<unset>")
}

/// `RWO,ROX,RWX,RWOP` for the modes that are there.
pub(super) fn modes(object: &Value, pointer: &str) -> String {
    let have = tree::texts(object, pointer);
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let shown = short.iter().filter(|(mode, _)| have.contains(mode)).map(|(_, short)| *short);
    shown.collect::<Vec<_>>().join(",")
}

/// The class, by field or by the old annotation.
pub(super) fn class(object: &Value) -> String {
    let named = meta::annotation(object, CLASS_ANNOTATION);
    named.unwrap_or_else(|| tree::text(object, "/spec/storageClassName")).to_owned()
}

fn is_bound_to_volume(object: &Value) -> bool {
    !tree::text(object, "/spec/volumeName").is_empty()
}

fn capacity(object: &Value) -> String {
    if !is_bound_to_volume(object) {
        return String::new();
    }
    cells::number_or_text(object, "/status/capacity/storage", "0")
}

fn bound_modes(object: &Value) -> String {
    if is_bound_to_volume(object) { modes(object, "/status/accessModes") } else { String::new() }
}

/// Defaults of a claim, alone or in a StatefulSet.
pub(super) fn default(object: &mut Value) {
    let spec = tree::make(object, "spec");
    tree::make(spec, "resources");
    pod_spec::defaults::claim_spec(spec);
    let status = tree::make(object, "status");
    tree::fill_zero(status, "phase", "Pending");
    for list in ["capacity", "allocatedResources"] {
        if let Some(list) = tree::child(status, list) {
            pod_spec::defaults::resource_list(list);
        }
    }
}

/// Access modes of a claim or volume.
pub(super) fn access_modes(at: &At<'_>, faults: &mut Faults) {
    const KNOWN: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    for mode in at.items() {
        if !KNOWN.contains(&mode.text()) {
            faults.not_supported(&At { value: mode.value, path: at.path.clone() }, &KNOWN);
        }
    }
    let is_single = |mode: &At<'_>| mode.text() == "ReadWriteOncePod";
    let has_other = at.items().any(|mode| !is_single(&mode) && KNOWN.contains(&mode.text()));
    if has_other && at.items().any(|mode| is_single(&mode)) {
        faults.forbidden(at, "may not use ReadWriteOncePod with other access modes");
    }
}

/// A claim's spec, in a claim or a template of one.
pub(super) fn validate_spec(at: &At<'_>, faults: &mut Faults) {
    let modes = at.get("accessModes");
    if modes.len() == 0 {
        faults.required(&modes, "at least 1 access mode is required");
    }
    faults.label_selector(&at.get("selector"));
    access_modes(&modes, faults);
    let storage = At {
        value: at.get2("resources", "requests").get("storage").value,
        path: at.get("resources").path.key("storage"),
    };
    if storage.is_set() {
        amounts::positive(&storage, faults);
    } else {
        faults.required(&storage, "");
    }
    for class in ["storageClassName", "volumeAttributesClassName"] {
        if !at.get(class).is_zero() {
            faults.rule(&at.get(class), name::subdomain);
        }
    }
    faults.optional_one_of(&at.get("volumeMode"), &["Block", "Filesystem"]);
    data_sources(at, faults);
}

fn data_sources(at: &At<'_>, faults: &mut Faults) {
    let (source, reference) = (at.get("dataSource"), at.get("dataSourceRef"));
    for part in [&source, &reference] {
        if !part.is_set() {
            continue;
        }
        for field in ["name", "kind"] {
            if part.get(field).is_zero() {
                faults.required(&part.get(field), "");
            }
        }
        if part.get("apiGroup").is_zero() && part.get("kind").text() != "PersistentVolumeClaim" {
            faults.invalid(
                part,
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            );
        }
    }
    if !source.is_set() {
        return;
    }
    if !reference.get("namespace").is_zero() {
        faults.invalid_as(
            at,
            source.path.to_string(),
            "may not be specified when dataSourceRef.namespace is specified",
        );
    } else if reference.is_set() && !tree::same(source.value, reference.value) {
        faults.invalid_as(at, source.path.to_string(), "must match dataSourceRef");
    }
}

/// The older field for a source takes claims and snapshots only; upstream drops what else is in it.
fn drop_foreign_source(spec: &mut Value) {
    const KNOWN: [(&str, &str); 2] =
        [("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")];
    let of = (tree::text(spec, "/dataSource/apiGroup"), tree::text(spec, "/dataSource/kind"));
    if tree::at(spec, "/dataSource").is_some() && !KNOWN.contains(&of) {
        tree::remove(spec, "dataSource");
    }
}

/// The two fields for a source say the same, where only one is given.
fn mirror_data_source(spec: &mut Value) {
    let source = tree::at(spec, "/dataSource").cloned();
    let reference = tree::at(spec, "/dataSourceRef").cloned();
    match (source, reference) {
        (Some(source), None) => tree::set(spec, "dataSourceRef", source),
        (None, Some(reference)) if tree::text(&reference, "/namespace").is_empty() => {
            tree::set(spec, "dataSource", reference);
        }
        _ => {}
    }
}

fn storage(object: &Value, pointer: &str) -> Quantity {
    object.pointer(pointer).and_then(|v| Quantity::from_json(v).ok()).unwrap_or_default()
}

const STORAGE: &str = "/spec/resources/requests/storage";

/// What stays of a claim's spec; a bound one may ask for more storage or another attributes class.
fn spec_update(new: &Value, old: &Value, faults: &mut Faults) {
    let at = At::root(new).get("spec");
    let mut fixed = at.value.clone();
    if tree::text(old, "/spec/volumeName").is_empty() {
        tree::remove(&mut fixed, "volumeName");
    }
    let had_class = tree::at(old, "/spec/storageClassName").is_some();
    if !had_class && meta::annotation(old, CLASS_ANNOTATION).is_none() {
        tree::remove(&mut fixed, "storageClassName");
    }
    if tree::text(new, "/status/phase") == "Bound" {
        if let Some(requests) = tree::at_mut(&mut fixed, "/resources/requests") {
            tree::restore(requests, &old["spec"]["resources"]["requests"], "storage");
        }
        if tree::at(&fixed, "/volumeAttributesClassName").is_some() {
            tree::restore(&mut fixed, &old["spec"], "volumeAttributesClassName");
        }
    }
    if !tree::same(&fixed, &old["spec"]) {
        faults.forbidden(
            &at,
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        );
    }
    let wanted = storage(new, STORAGE);
    if wanted < storage(old, STORAGE) && wanted <= storage(old, "/status/capacity/storage") {
        let place = at.get2("resources", "requests").get("storage");
        faults.forbidden(&place, "field can not be less than status.capacity");
    }
    let mode =
        At { value: at.get("volumeMode").value, path: At::root(new).named("volumeMode").path };
    faults.immutable(&mode, &At::root(old).get2("spec", "volumeMode"));
    let attributes = at.get("volumeAttributesClassName");
    if tree::at(old, "/spec/volumeAttributesClassName").is_some() {
        if !attributes.is_set() {
            faults.forbidden(&attributes, "update from non-nil value to nil is forbidden");
        } else if attributes.is_zero() {
            faults.forbidden(
                &attributes,
                "update from non-nil value to an empty string is forbidden",
            );
        }
    }
}

impl Strategy for PersistentVolumeClaim {
    fn default(&self, object: &mut Value) {
        default(object);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({"phase": "Pending"}));
        drop_foreign_source(tree::make(object, "spec"));
        mirror_data_source(tree::make(object, "spec"));
    }

    fn prepare_for_update(&self, new: &mut Value, _old: &Value) {
        mirror_data_source(tree::make(new, "spec"));
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate_spec(&At::root(object).get("spec"), &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        spec_update(new, old, &mut faults);
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        for list in ["capacity", "allocatedResources"] {
            for (_, amount) in At::root(new).get2("status", list).entries() {
                amounts::non_negative(&amount, &mut faults);
            }
        }
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::check::show;

    fn sample() -> Value {
        let mut object = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        PersistentVolumeClaim.default(&mut object);
        PersistentVolumeClaim.prepare_for_create(&mut object);
        object
    }

    #[test]
    fn defaults_and_columns() {
        let mut object = sample();
        assert_eq!(object["spec"]["volumeMode"], "Filesystem");
        assert_eq!(object["status"], json!({"phase": "Pending"}));
        assert_eq!(show(&PersistentVolumeClaim.validate(&object)), "");
        object["spec"]["volumeName"] = json!("v");
        object["status"] = json!({"phase": "Bound", "capacity": {"storage": "2Gi"},
            "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]});
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["Bound", "v", "2Gi", "RWO,ROX", "", "<unset>", "<unknown>", "Filesystem"]
        );
    }

    #[test]
    fn faults_read_as_upstreams() {
        let cases = [
            (
                json!({"resources": {}}),
                "spec.accessModes: Required value: at least 1 access mode is required\nspec.resources[storage]: Required value",
            ),
            (
                json!({"accessModes": ["X"], "resources": {"requests": {"storage": "0"}}}),
                "spec.accessModes: Unsupported value: \"X\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"\nspec.resources[storage]: Invalid value: \"0\": must be greater than zero",
            ),
        ];
        for (spec, text) in cases {
            assert_eq!(show(&PersistentVolumeClaim.validate(&json!({"spec": spec}))), text);
        }
    }

    #[test]
    fn a_bound_claim_may_grow() {
        let mut old = sample();
        let mut new = old.clone();
        new["spec"]["resources"]["requests"]["storage"] = json!("2Gi");
        assert!(
            show(&PersistentVolumeClaim.validate_update(&new, &old))
                .starts_with("spec: Forbidden: spec is immutable")
        );
        old["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        new["status"] = old["status"].clone();
        assert_eq!(show(&PersistentVolumeClaim.validate_update(&new, &old)), "");
        new["spec"]["resources"]["requests"]["storage"] = json!("1Mi");
        assert_eq!(
            show(&PersistentVolumeClaim.validate_update(&new, &old)),
            "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
        );
    }
}
