//! `storage.k8s.io/v1 VolumeAttachment`: a volume on a node.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::pod_spec::volume_drivers;
use crate::kinds::{cells, row, tree};
use crate::meta;
use crate::name;
use crate::resource::{Cell, Column, Resource, Scope, Strategy, Subresource};

struct VolumeAttachment;

const METADATA_BYTES_MAX: usize = 256 * 1024;
const MESSAGE_MAX: usize = 1024;
const ONE_SOURCE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        columns: vec![
            Column::new("Attacher", Cell::Pointer("/spec/attacher")),
            Column::new("PV", Cell::Pointer("/spec/source/persistentVolumeName")),
            Column::new("Node", Cell::Pointer("/spec/nodeName")),
            cells::boolean(
                "Attached",
                Cell::Compute(|o, _| tree::flag(o, "/status/attached").into()),
            ),
            cells::age(),
        ],
        has_status: true,
        needs_revision: true,
        shows_deleted: true,
        ..row("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", &VolumeAttachment)
    }]
}

fn validate_status(at: &At<'_>, faults: &mut Faults) {
    let metadata = at.get("attachmentMetadata");
    let size: usize = metadata.entries().map(|(key, value)| key.len() + value.text().len()).sum();
    if size > METADATA_BYTES_MAX {
        faults.too_long(&metadata, METADATA_BYTES_MAX);
    }
    for error in ["attachError", "detachError"] {
        let message = at.get2(error, "message");
        if message.text().len() > MESSAGE_MAX {
            faults.too_long(&message, METADATA_BYTES_MAX);
        }
    }
}

impl Strategy for VolumeAttachment {
    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        meta::keep(new, old, meta::NOT_OF_STATUS);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let (spec, source) = (at.get("spec"), at.get2("spec", "source"));
        let mut faults = Faults::default();
        if spec.get("attacher").is_zero() {
            faults.required(&spec.get("attacher"), "");
        }
        let volume = source.get("persistentVolumeName");
        match (volume.is_set(), source.get("inlineVolumeSpec").is_set()) {
            (false, false) => faults.required(&source, ONE_SOURCE),
            (true, true) => faults.forbidden(&source, ONE_SOURCE),
            (true, false) if volume.is_zero() => {
                faults.required(&volume, "must specify non empty persistentVolumeName");
            }
            _ => {}
        }
        faults.rule(&spec.get("nodeName"), name::subdomain);
        validate_status(&at.get("status"), &mut faults);
        volume_drivers::driver_name(&spec.get("attacher"), &mut faults);
        if volume.is_set() {
            faults.rule(&volume, name::subdomain);
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        faults.immutable(&At::root(new).get("spec"), &At::root(old).get("spec"));
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate_status(&At::root(new).get("status"), &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn faults_and_columns() {
        let object = json!({"spec": {"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "v"}}});
        assert_eq!(show(&VolumeAttachment.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["a.b", "v", "n", "false", "<unknown>"]
        );
        assert_eq!(
            show(
                &VolumeAttachment.validate(&json!({"spec": {"nodeName": "n", "attacher": "A_b"}}))
            ),
            "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName\n\
             spec.attacher: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        );
    }
}
