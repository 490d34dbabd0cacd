//! `certificates.k8s.io/v1 CertificateSigningRequest`: asks for a certificate.
//!
//! Who asks is filled in by the API server, which knows the caller; so are the times of conditions. That the
//! request's own signature is right is checked by the signer.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::certificates::{GROUP, pem_blocks, signer_name};
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, duration, row, tree};
use crate::object::SelectableFields;
use crate::resource::{
    Cell, Column, NameRule, Names, Resource, STATUS_VERBS, Scope, Strategy, Subresource,
};

struct CertificateSigningRequest;

const SECONDS_MIN: i64 = 600;
/// Conditions that are only ever true.
const TRUE_ONLY: [&str; 3] = ["Approved", "Denied", "Failed"];
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["csr"]),
        scope: Scope::Cluster,
        name_rule: NameRule::PathSegment,
        subresources: vec![Subresource::own("approval", STATUS_VERBS), Subresource::STATUS],
        columns: columns(),
        has_status: true,
        ..row(
            GROUP,
            "v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
            &CertificateSigningRequest,
        )
    }]
}

fn columns() -> Vec<Column> {
    vec![
        cells::age(),
        Column::new(
            "SignerName",
            Cell::Compute(|o, _| cells::or_none(tree::text(o, "/spec/signerName")).into()),
        ),
        Column::new("Requestor", Cell::Pointer("/spec/username")),
        Column::new("RequestedDuration", Cell::Compute(|o, _| requested(o).into())),
        Column::new("Condition", Cell::Compute(|o, _| condition(o).into())),
    ]
}

fn requested(object: &Value) -> String {
    match tree::int(object, "/spec/expirationSeconds") {
        Some(seconds) => duration::human_duration(seconds),
        None => "<none>".to_owned(),
    }
}

fn condition(object: &Value) -> String {
    let conditions = tree::list(object, "/status/conditions");
    let has = |kind| conditions.iter().any(|condition| tree::text(condition, "/type") == kind);
    let mut shown = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        shown.push_str(",Failed");
    }
    if !tree::text(object, "/status/certificate").is_empty() {
        shown.push_str(",Issued");
    }
    shown
}

fn decoded(at: &At<'_>) -> String {
    let bytes = STANDARD.decode(at.text()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn validate_spec(spec: &At<'_>, faults: &mut Faults) {
    let (request, usages) = (spec.get("request"), spec.get("usages"));
    match pem_blocks(&decoded(&request)) {
        Some(kinds) if kinds.first() == Some(&"CERTIFICATE REQUEST") => {}
        _ => faults.invalid(&request, "PEM block type must be CERTIFICATE REQUEST"),
    }
    if usages.len() == 0 {
        faults.required(&usages, "");
    }
    let mut seen = BTreeSet::new();
    for usage in usages.items() {
        faults.optional_one_of(&usage, &USAGES);
        faults.unique(&usage, &mut seen);
    }
    let signer = spec.get("signerName");
    if signer.text() == "kubernetes.io/legacy-unknown" {
        faults.invalid(&signer, "the legacy signerName is not allowed via this API version");
    } else {
        signer_name(&signer, faults);
    }
    let seconds = spec.get("expirationSeconds");
    if seconds.int().is_some_and(|seconds| seconds < SECONDS_MIN) {
        faults.invalid(&seconds, "may not specify a duration less than 600 seconds (10 minutes)");
    }
}

fn conditions(at: &At<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for condition in at.items() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        if kind.is_zero() {
            faults.required(&kind, "");
        }
        if TRUE_ONLY.contains(&kind.text()) {
            faults.one_of(&status, &["True"]);
        } else {
            faults.one_of(&status, &["False", "True", "Unknown"]);
        }
        let opposite = match kind.text() {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if seen.contains(opposite) {
            faults.invalid(&kind, "Approved and Denied conditions are mutually exclusive");
        }
        faults.unique(&kind, &mut seen);
    }
}

fn of_type<'a>(object: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = tree::list(object, "/status/conditions").iter();
    all.filter(|condition| tree::text(condition, "/type") == kind).collect()
}

/// Faults of changed conditions; approvals are given through `approval` alone.
fn condition_changes(new: &Value, old: &Value, is_approval: bool, faults: &mut Faults) {
    let at = At::root(new).get2("status", "conditions");
    for kind in TRUE_ONLY {
        let (now, before) = (of_type(new, kind), of_type(old, kind));
        if now.len() < before.len() {
            faults.forbidden(&at, format!("updates may not remove a condition of type \"{kind}\""));
        }
    }
    if is_approval {
        return;
    }
    for kind in ["Approved", "Denied"] {
        let (now, before) = (of_type(new, kind), of_type(old, kind));
        if now.len() > before.len() {
            faults.forbidden(&at, format!("updates may not add a condition of type \"{kind}\""));
        } else if now.len() == before.len() && now != before {
            let text = format!("updates may not modify a condition of type \"{kind}\"");
            faults.forbidden(&at, text);
        }
    }
}

/// Faults of a changed `approval`.
fn validate_approval(new: &Value, old: &Value) -> Vec<Error> {
    let mut faults = Faults::default();
    let status = At::root(new).get("status");
    conditions(&status.get("conditions"), &mut faults);
    condition_changes(new, old, true, &mut faults);
    if !tree::same_at(new, old, "/status/certificate") {
        faults.forbidden(&status.get("certificate"), "updates may not set certificate content");
    }
    faults.0
}

/// The old object with nothing but the new conditions: what `approval` may change.
fn prepare_approval(new: &mut Value, old: &Value) {
    let wanted = new.pointer("/status/conditions").cloned();
    tree::restore(new, old, "spec");
    tree::restore(new, old, "status");
    if let Some(wanted) = wanted {
        tree::set(tree::make(new, "status"), "conditions", wanted);
    }
}

impl Strategy for CertificateSigningRequest {
    fn prepare_for_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({}));
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value) {
        tree::restore(new, old, "spec");
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate_spec(&At::root(object).get("spec"), &mut faults);
        faults.0
    }

    fn validate_update(&self, _new: &Value, _old: &Value) -> Vec<Error> {
        Vec::new()
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        // Approvals and denials are not this subresource's.
        for kind in ["Approved", "Denied"] {
            let before: Vec<Value> = of_type(old, kind).into_iter().cloned().collect();
            if before.len() != of_type(new, kind).len() {
                continue;
            }
            let mut before = before.into_iter();
            tree::each(tree::make(new, "status"), "conditions", |condition| {
                if tree::text(condition, "/type") == kind
                    && let Some(kept) = before.next()
                {
                    *condition = kept;
                }
            });
        }
    }

    fn prepare_for_subresource_update(&self, subresource: &str, new: &mut Value, old: &Value) {
        if subresource == "approval" {
            prepare_approval(new, old);
        }
    }

    fn validate_subresource_update(
        &self,
        subresource: &str,
        new: &Value,
        old: &Value,
    ) -> Vec<Error> {
        if subresource == "approval" { validate_approval(new, old) } else { Vec::new() }
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let status = At::root(new).get("status");
        let certificate = status.get("certificate");
        let mut faults = Faults::default();
        conditions(&status.get("conditions"), &mut faults);
        condition_changes(new, old, false, &mut faults);
        let before = tree::text(old, "/status/certificate");
        if certificate.text() != before {
            if !before.is_empty() {
                faults
                    .forbidden(&certificate, "updates may not modify existing certificate content");
            }
            certificate_text(&certificate, &mut faults);
        }
        faults.0
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        vec![("spec.signerName", tree::text(object, "/spec/signerName").into())]
    }
}

fn certificate_text(at: &At<'_>, faults: &mut Faults) {
    const SHOWN: &str = "<certificate data>";
    if at.is_zero() {
        return;
    }
    match pem_blocks(&decoded(at)).unwrap_or_default().as_slice() {
        [] => faults.invalid_as(at, SHOWN, "must contain at least one CERTIFICATE PEM block"),
        kinds => {
            if let Some(other) = kinds.iter().find(|kind| **kind != "CERTIFICATE") {
                let text = format!("only CERTIFICATE PEM blocks are allowed, found \"{other}\"");
                faults.invalid_as(at, SHOWN, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::check::show;

    fn pem(kind: &str) -> String {
        STANDARD.encode(format!("-----BEGIN {kind}-----\nZm9v\n-----END {kind}-----\n"))
    }

    fn sample() -> Value {
        json!({"spec": {"request": pem("CERTIFICATE REQUEST"), "usages": ["client auth"],
            "signerName": "kubernetes.io/kube-apiserver-client", "username": "u",
            "expirationSeconds": 3600}, "status": {}})
    }

    #[test]
    fn faults_and_columns() {
        let good = sample();
        assert_eq!(show(&CertificateSigningRequest.validate(&good)), "");
        assert_eq!(
            cells::show(&rows()[0], &good, "2026-01-01T00:00:00Z"),
            ["<unknown>", "kubernetes.io/kube-apiserver-client", "u", "60m", "Pending"]
        );
        let mut bad = good;
        bad["spec"]["request"] = json!("eA==");
        bad["spec"]["usages"] = json!(["x"]);
        bad["spec"]["signerName"] = json!("a");
        let shown = show(&CertificateSigningRequest.validate(&bad));
        assert!(shown.starts_with("spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST\nspec.usages[0]: Unsupported value: \"x\""));
        assert!(shown.ends_with("spec.signerName: Invalid value: \"a\": must be a fully qualified domain and path of the form 'example.com/signer-name'"));
    }

    #[test]
    fn approval_and_status_are_apart() {
        let old = sample();
        let mut approved = old.clone();
        approved["status"]["conditions"] = json!([{"type": "Approved", "status": "True"}]);
        approved["spec"]["username"] = json!("v");
        prepare_approval(&mut approved, &old);
        assert_eq!(approved["spec"], old["spec"]);
        assert_eq!(show(&validate_approval(&approved, &old)), "");
        assert_eq!(
            show(&CertificateSigningRequest.validate_status_update(&approved, &old)),
            "status.conditions: Forbidden: updates may not add a condition of type \"Approved\""
        );
        let mut issued = approved.clone();
        issued["status"]["certificate"] = json!(pem("CERTIFICATE"));
        assert_eq!(show(&CertificateSigningRequest.validate_status_update(&issued, &approved)), "");
        assert_eq!(condition(&issued), "Approved,Issued");
        issued["status"]["certificate"] = json!(pem("KEY"));
        assert!(
            show(&CertificateSigningRequest.validate_status_update(&issued, &approved))
                .contains("found \"KEY\"")
        );
    }
}
