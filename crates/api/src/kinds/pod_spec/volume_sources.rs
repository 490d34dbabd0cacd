//! What is in a volume: one source each, of pods and of persistent volumes.

use std::collections::BTreeSet;

use super::super::check::{At, Faults};
use super::super::{amounts, persistent_volume_claim};
use super::volumes::{descending_path, no_backsteps};
use super::{environment, volume_drivers};

const MODE_TEXT: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// Sources of pods, in upstream's order, with the fields that each must have.
const POD_SOURCES: [(&str, &[&str]); 30] = [
    ("emptyDir", &[]),
    ("hostPath", &[]),
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("secret", &["secretName"]),
    ("nfs", &["server", "path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("glusterfs", &["endpoints", "path"]),
    ("flocker", &[]),
    ("persistentVolumeClaim", &["claimName"]),
    ("rbd", &["monitors", "image"]),
    ("cinder", &["volumeID"]),
    ("cephfs", &["monitors"]),
    ("quobyte", &["registry", "volume"]),
    ("downwardAPI", &[]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("configMap", &["name"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("storageos", &["volumeName"]),
    ("projected", &[]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("csi", &[]),
    ("ephemeral", &["volumeClaimTemplate"]),
    ("image", &[]),
];

/// The sources of `at`, of which there must be exactly one.
fn one_source(at: &At<'_>, sources: &[(&str, &[&str])], faults: &mut Faults) {
    let mut found = 0;
    for (kind, required) in sources {
        let source = at.get(kind);
        if !source.is_set() {
            continue;
        }
        found += 1;
        if found > 1 {
            faults.forbidden(&source, "may not specify more than 1 volume type");
            continue;
        }
        for field in *required {
            if source.get(field).is_zero() {
                faults.required(&source.get(field), "");
            }
        }
        particular(kind, &source, faults);
    }
    if found == 0 {
        faults.required(at, "must specify a volume type");
    }
}

/// The source of a pod's volume.
pub(super) fn of_pod(volume: &At<'_>, is_pod: bool, faults: &mut Faults) {
    one_source(volume, &POD_SOURCES, faults);
    let image = volume.get("image");
    if image.is_set() {
        if is_pod && image.get("reference").is_zero() {
            faults.required(&image.get("reference"), "");
        }
        faults.one_of(&image.get("pullPolicy"), &["Always", "IfNotPresent", "Never"]);
    }
}

/// Sources of persistent volumes, with the fields that each must have.
const PERSISTENT_SOURCES: [(&str, &[&str]); 21] = [
    ("hostPath", &[]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", &["endpoints", "path"]),
    ("flocker", &[]),
    ("nfs", &["server", "path"]),
    ("rbd", &["monitors", "image"]),
    ("quobyte", &["registry", "volume"]),
    ("cephfs", &["monitors"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("cinder", &["volumeID"]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("local", &["path"]),
    ("csi", &["volumeHandle"]),
];

/// The source of a persistent volume; `spec` has no other fields that look like one.
pub(in super::super) fn of_persistent_volume(spec: &At<'_>, faults: &mut Faults) {
    let sources: Vec<(&str, &[&str])> = PERSISTENT_SOURCES.to_vec();
    one_source(spec, &sources, faults);
    if spec.get("storageos").is_set() && spec.get2("storageos", "volumeName").is_zero() {
        faults.required(&spec.get2("storageos", "volumeName"), "");
    }
    let local = spec.get2("local", "path");
    if !local.is_zero() {
        no_backsteps(&local, local.text(), faults);
    }
}

fn particular(kind: &str, at: &At<'_>, faults: &mut Faults) {
    match kind {
        "emptyDir" => {
            let limit = at.get("sizeLimit");
            if limit.is_set() && amounts::read(&limit).is_none_or(|limit| limit.is_negative()) {
                faults.forbidden(&limit, "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => host_path(at, faults),
        "secret" | "configMap" => {
            mode(&at.get("defaultMode"), faults);
            for item in at.get("items").items() {
                key_to_path(&item, faults);
            }
        }
        "nfs" if !at.get("path").text().starts_with('/') => {
            faults.invalid_as(&at.get("path"), at.get("path").text(), "must be an absolute path");
        }
        "downwardAPI" => {
            mode(&at.get("defaultMode"), faults);
            for item in at.get("items").items() {
                downward_file(&item, at, faults);
            }
        }
        "projected" => projected(at, faults),
        "ephemeral" => {
            let template = at.get("volumeClaimTemplate");
            if template.is_set() {
                faults.labels(&template.get2("metadata", "labels"));
                faults.annotations(&template.get2("metadata", "annotations"));
                persistent_volume_claim::validate_spec(&template.get("spec"), faults);
            }
        }
        "csi" => volume_drivers::csi(at, faults),
        "iscsi" => volume_drivers::iscsi(at, faults),
        _ => {}
    }
}

fn host_path(at: &At<'_>, faults: &mut Faults) {
    let path = at.get("path");
    if path.is_zero() {
        faults.required(&path, "");
        return;
    }
    no_backsteps(&path, path.text(), faults);
    faults.optional_one_of(&at.get("type"), &HOST_PATH_TYPES);
}

fn mode(at: &At<'_>, faults: &mut Faults) {
    if at.int().is_some_and(|bits| !(0..=0o777).contains(&bits)) {
        faults.invalid(at, MODE_TEXT);
    }
}

/// A path in a volume that does not begin with `..`, which is kept for the kubelet.
fn local_path(at: &At<'_>, faults: &mut Faults) {
    descending_path(at, at.text(), faults);
    if at.text().starts_with("..") && !at.text().starts_with("../") {
        faults.invalid(at, "must not start with '..'");
    }
}

fn key_to_path(at: &At<'_>, faults: &mut Faults) {
    for field in ["key", "path"] {
        if at.get(field).is_zero() {
            faults.required(&at.get(field), "");
        }
    }
    local_path(&at.get("path"), faults);
    mode(&at.get("mode"), faults);
}

/// An item of a downward volume; `list` is the place that faults of either reference name.
fn downward_file(at: &At<'_>, list: &At<'_>, faults: &mut Faults) {
    let path = At { value: at.get("path").value, path: list.named("path").path };
    if path.is_zero() {
        faults.required(&path, "");
    }
    local_path(&path, faults);
    let place = |name: &str| At { value: at.get(name).value, path: list.named(name).path };
    let (field, resource) = (place("fieldRef"), place("resourceFieldRef"));
    if field.is_set() {
        environment::field(&field, &environment::FILE_FIELDS, faults);
        if resource.is_set() {
            faults.invalid_as(
                list,
                "resource",
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            );
        }
    } else if resource.is_set() {
        environment::resource(&resource, true, faults);
    } else {
        faults.required(list, "one of fieldRef and resourceFieldRef is required");
    }
    mode(&place("mode"), faults);
}

fn projected(at: &At<'_>, faults: &mut Faults) {
    mode(&at.get("defaultMode"), faults);
    let mut paths = BTreeSet::new();
    for source in at.get("sources").items() {
        projection(at, &source, &mut paths, faults);
    }
}

fn unique_path<'a>(
    volume: &At<'_>,
    path: &'a str,
    shown: &str,
    paths: &mut BTreeSet<&'a str>,
    faults: &mut Faults,
) {
    if !path.is_empty() && !paths.insert(path) {
        faults.invalid_as(volume, shown, "conflicting duplicate paths");
    }
}

fn projection<'a>(
    volume: &At<'_>,
    source: &At<'a>,
    paths: &mut BTreeSet<&'a str>,
    faults: &mut Faults,
) {
    for kind in ["secret", "configMap"] {
        let part = source.get(kind);
        if part.is_set() && part.get("name").is_zero() {
            faults.required(&part.get("name"), "");
        }
        for item in part.get("items").items() {
            key_to_path(&item, faults);
            unique_path(volume, item.get("path").text(), part.get("name").text(), paths, faults);
        }
    }
    let downward = source.get("downwardAPI");
    for item in downward.get("items").items() {
        downward_file(&item, &downward, faults);
        let path = item.get("path").text();
        unique_path(volume, path, path, paths, faults);
    }
    let token = source.get("serviceAccountToken");
    if token.is_set() {
        token_projection(volume, &token, faults);
    }
    let bundle = source.get("clusterTrustBundle");
    if bundle.is_set() {
        bundle_projection(&bundle, faults);
        let path = bundle.get("path").text();
        unique_path(volume, path, path, paths, faults);
    }
    let kinds = [
        "secret",
        "configMap",
        "downwardAPI",
        "serviceAccountToken",
        "clusterTrustBundle",
        "podCertificate",
    ];
    if kinds.iter().filter(|kind| source.get(kind).is_set()).count() > 1 {
        faults.forbidden(source, "may not specify more than 1 volume type per source");
    }
}

fn token_projection(volume: &At<'_>, token: &At<'_>, faults: &mut Faults) {
    let seconds = token.get("expirationSeconds");
    let number = seconds.int().unwrap_or_default();
    if number < TOKEN_SECONDS_MIN {
        faults.invalid(&seconds, "may not specify a duration less than 10 minutes");
    }
    if number > TOKEN_SECONDS_MAX {
        faults.invalid(&seconds, "may not specify a duration larger than 2^32 seconds");
    }
    // Upstream names the volume's path, not the token's.
    let place = At { value: token.get("path").value, path: volume.named("path").path };
    if place.is_zero() {
        faults.required(&place, "");
    } else {
        local_path(&place, faults);
    }
}

fn bundle_projection(at: &At<'_>, faults: &mut Faults) {
    let (own_name, signer) = (at.get("name"), at.get("signerName"));
    match (own_name.is_set(), signer.is_set()) {
        (true, true) => faults.invalid(at, "only one of name and signerName may be used"),
        (true, false) => {
            if own_name.is_zero() {
                faults.required(&own_name, "must be a valid object name");
            }
            if at.get("labelSelector").is_set() {
                faults.invalid(
                    &at.get("labelSelector"),
                    "labelSelector must be unset if name is specified",
                );
            }
        }
        (false, true) => {
            if signer.is_zero() {
                faults.required(&signer, "must be a valid signer name");
            }
            faults.label_selector(&at.get("labelSelector"));
        }
        (false, false) => faults.required(at, "either name or signerName must be specified"),
    }
    if at.get("path").is_zero() {
        faults.required(&at.get("path"), "");
    }
    local_path(&at.get("path"), faults);
}
