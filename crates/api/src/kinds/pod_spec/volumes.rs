//! Volumes of a pod, and where containers mount them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::check::{At, Faults};
use super::volume_sources;
use crate::name;

/// Volumes that are in order, by name.
pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// `volumes` of a spec; those without fault are returned.
pub(super) fn validate<'a>(at: &At<'a>, is_pod: bool, faults: &mut Faults) -> Volumes<'a> {
    let mut good = Volumes::new();
    for volume in at.items() {
        let before = faults.0.len();
        volume_sources::of_pod(&volume, is_pod, faults);
        let own_name = volume.get("name");
        faults.required_rule(&own_name, name::label);
        if good.contains_key(own_name.text()) {
            faults.duplicate(&own_name);
        }
        if faults.0.len() == before {
            good.insert(own_name.text(), volume.value);
        }
    }
    good
}

/// A path within a volume: relative, and never upwards.
pub(super) fn descending_path(at: &At<'_>, path: &str, faults: &mut Faults) {
    if path.starts_with('/') {
        faults.invalid_as(at, path, "must be a relative path");
    }
    no_backsteps(at, path, faults);
}

/// A path without `..`.
pub(super) fn no_backsteps(at: &At<'_>, path: &str, faults: &mut Faults) {
    if path.split('/').any(|part| part == "..") {
        faults.invalid_as(at, path, "must not contain '..'");
    }
}

fn pairs<'a>(list: &At<'a>, path_field: &str) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
    let names = list.items().map(|item| item.get("name").text());
    let paths = list.items().map(|item| item.get(path_field).text());
    (names.collect(), paths.collect())
}

/// `volumeMounts` of a container.
pub(super) fn mounts(container: &At<'_>, volumes: &Volumes<'_>, faults: &mut Faults) {
    let at = container.get("volumeMounts");
    let (devices, device_paths) = pairs(&container.get("volumeDevices"), "devicePath");
    let mut seen = BTreeSet::new();
    for mount in at.items() {
        let (own_name, path) = (mount.get("name"), mount.get("mountPath"));
        if own_name.is_zero() {
            faults.required(&own_name, "");
        }
        if !volumes.contains_key(own_name.text()) {
            faults.not_found(&own_name);
        }
        if path.is_zero() {
            faults.required(&path, "");
        }
        if !seen.insert(path.text()) {
            faults.invalid(&path, "must be unique");
        }
        if devices.contains(own_name.text()) {
            faults.invalid(&own_name, "must not already exist in volumeDevices");
        }
        if device_paths.contains(path.text()) {
            faults.invalid(&path, "must not already exist as a path in volumeDevices");
        }
        sub_paths(&mount, &at, volumes.get(own_name.text()).copied(), faults);
        propagation(&mount, &at, container, faults);
    }
}

fn sub_paths(mount: &At<'_>, list: &At<'_>, volume: Option<&Value>, faults: &mut Faults) {
    let (plain, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
    let is_image = volume.is_some_and(|volume| volume.get("image").is_some_and(|i| !i.is_null()));
    if is_image && !expression.is_zero() {
        faults.invalid(&expression, "not allowed in image volume sources");
    }
    // Upstream names the list, not the item, in these.
    if !plain.is_zero() {
        descending_path(&list.named("subPath"), plain.text(), faults);
    }
    if !expression.is_zero() {
        if !plain.is_zero() {
            faults.invalid(&expression, "subPathExpr and subPath are mutually exclusive");
        }
        descending_path(&list.named("subPathExpr"), expression.text(), faults);
    }
}

fn propagation(mount: &At<'_>, list: &At<'_>, container: &At<'_>, faults: &mut Faults) {
    let mode = mount.get("mountPropagation");
    let place = At { value: mode.value, path: list.named("mountPropagation").path };
    faults.optional_one_of(&place, &["Bidirectional", "HostToContainer", "None"]);
    let is_privileged = container.get2("securityContext", "privileged").flag();
    if mode.text() == "Bidirectional" && !is_privileged {
        faults.forbidden(
            &place,
            "Bidirectional mount propagation is available only to privileged containers",
        );
    }
    let read_only = mount.get("recursiveReadOnly");
    let place = At { value: read_only.value, path: list.named("recursiveReadOnly").path };
    faults.optional_one_of(&place, &["Disabled", "Enabled", "IfPossible"]);
    if !matches!(read_only.text(), "Enabled" | "IfPossible") {
        return;
    }
    if !mount.get("readOnly").flag() {
        faults.forbidden(&place, "may only be specified when readOnly is true");
    }
    if !matches!(mode.text(), "" | "None") {
        faults.forbidden(
            &place,
            "may only be specified when mountPropagation is None or not specified",
        );
    }
}

/// `volumeDevices` of a container.
pub(super) fn devices(container: &At<'_>, volumes: &Volumes<'_>, faults: &mut Faults) {
    let (mounts, mount_paths) = pairs(&container.get("volumeMounts"), "mountPath");
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for device in container.get("volumeDevices").items() {
        let (own_name, path) = (device.get("name"), device.get("devicePath"));
        if own_name.is_zero() {
            faults.required(&own_name, "");
        } else if !names.insert(own_name.text()) {
            faults.invalid(&own_name, "must be unique");
        }
        match volumes.get(own_name.text()) {
            None => faults.not_found(&own_name),
            Some(volume) if is_block_capable(volume) => {}
            Some(_) => faults.invalid(
                &own_name,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            ),
        }
        if path.is_zero() {
            faults.required(&path, "");
        }
        if path.text().split('/').any(|part| part == "..") {
            faults.invalid(&path, "can not contain backsteps ('..')");
        } else if !paths.insert(path.text()) {
            faults.invalid(&path, "must be unique");
        }
        if mounts.contains(own_name.text()) {
            faults.invalid(&own_name, "must not already exist in volumeMounts");
        }
        if mount_paths.contains(path.text()) {
            faults.invalid(&path, "must not already exist as a path in volumeMounts");
        }
    }
}

fn is_block_capable(volume: &Value) -> bool {
    ["persistentVolumeClaim", "ephemeral"]
        .iter()
        .any(|source| volume.get(*source).is_some_and(|source| !source.is_null()))
}
