//! `certificates.k8s.io PodCertificateRequest`: a certificate for a pod, asked for by its kubelet.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::certificates::{GROUP, signer_name};
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree};
use crate::name;
use crate::object::SelectableFields;
use crate::resource::{Cell, Column, Resource, Strategy, Subresource};

struct PodCertificateRequest;

const PLURAL: &str = "podcertificaterequests";
/// Longest and shortest lives that a certificate may be asked for, in seconds.
const SECONDS_MAX: i64 = 7_862_400;
const SECONDS_MIN: i64 = 3600;
const LIFE_SECONDS: i64 = 86_400;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version: &'static str| Resource {
        subresources: vec![Subresource::STATUS],
        columns: vec![
            Column::new("PodName", Cell::Pointer("/spec/podName")),
            Column::new("ServiceAccountName", Cell::Pointer("/spec/serviceAccountName")),
            Column::new("NodeName", Cell::Pointer("/spec/nodeName")),
            Column::new("SignerName", Cell::Pointer("/spec/signerName")),
            Column::new("State", Cell::Compute(|o, _| state(o).into())),
            cells::age(),
        ],
        has_status: true,
        off_by_default: version != "v1",
        ..row(GROUP, version, "PodCertificateRequest", PLURAL, &PodCertificateRequest)
            .stored_as(GROUP, "v1", PLURAL)
    };
    vec![of("v1"), of("v1beta1")]
}

fn state(object: &Value) -> &'static str {
    ["Denied", "Failed", "Issued"]
        .into_iter()
        .find(|kind| cells::condition_is_true(object, kind))
        .unwrap_or("Pending")
}

impl Strategy for PodCertificateRequest {
    fn default(&self, object: &mut Value) {
        tree::fill(tree::make(object, "spec"), "maxExpirationSeconds", LIFE_SECONDS);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let mut faults = Faults::default();
        signer_name(&spec.get("signerName"), &mut faults);
        for field in ["podName", "serviceAccountName", "nodeName"] {
            faults.required_rule(&spec.get(field), name::subdomain);
        }
        for field in ["podUID", "serviceAccountUID", "nodeUID"] {
            if spec.get(field).is_zero() {
                faults.required(&spec.get(field), "must not be empty");
            }
        }
        let seconds = spec.get("maxExpirationSeconds");
        if !seconds.int().is_some_and(|s| (SECONDS_MIN..=SECONDS_MAX).contains(&s)) {
            let text = format!("must be in the range [{SECONDS_MIN}, {SECONDS_MAX}]");
            faults.invalid(&seconds, text);
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        faults.immutable(&At::root(new).get("spec"), &At::root(old).get("spec"));
        faults.0
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        let text = |pointer: &str| tree::text(object, pointer).into();
        vec![
            ("spec.signerName", text("/spec/signerName")),
            ("spec.podName", text("/spec/podName")),
            ("spec.nodeName", text("/spec/nodeName")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn defaults_faults_and_columns() {
        let mut object = json!({"spec": {"signerName": "a.b/c", "podName": "p", "podUID": "1",
            "serviceAccountName": "s", "serviceAccountUID": "2", "nodeName": "n", "nodeUID": "3"}});
        PodCertificateRequest.default(&mut object);
        assert_eq!(object["spec"]["maxExpirationSeconds"], 86_400);
        assert_eq!(show(&PodCertificateRequest.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["p", "s", "n", "a.b/c", "Pending", "<unknown>"]
        );
        let mut new = object.clone();
        new["spec"]["podName"] = json!("q");
        assert!(
            show(&PodCertificateRequest.validate_update(&new, &object))
                .ends_with("field is immutable")
        );
    }
}
