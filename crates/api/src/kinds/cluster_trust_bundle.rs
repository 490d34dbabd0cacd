//! `certificates.k8s.io ClusterTrustBundle`: root certificates for pods.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::certificates::{GROUP, pem_blocks, signer_name};
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree};
use crate::meta;
use crate::name;
use crate::object::SelectableFields;
use crate::resource::{Cell, Column, NameRule, Resource, Scope, Strategy};

struct ClusterTrustBundle;

const PLURAL: &str = "clustertrustbundles";
const SIZE_MAX: usize = 1024 * 1024;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version: &'static str| Resource {
        scope: Scope::Cluster,
        columns: vec![Column::new(
            "SignerName",
            Cell::Compute(|o, _| cells::or_none(tree::text(o, "/spec/signerName")).into()),
        )],
        name_rule: NameRule::Own,
        off_by_default: version != "v1",
        needs_revision: true,
        ..row(GROUP, version, "ClusterTrustBundle", PLURAL, &ClusterTrustBundle)
            .stored_as(GROUP, "v1", PLURAL)
    };
    ["v1", "v1beta1", "v1alpha1"].map(of).into()
}

/// A bundle of a signer is named after it, any other is not.
fn own_name(object: &At<'_>, faults: &mut Faults) {
    let (text, signer) = (meta::name(object.value), object.get2("spec", "signerName"));
    let place = object.get2("metadata", "name");
    if signer.is_zero() {
        if text.contains(':') {
            faults.invalid_as(
                &place,
                text,
                "ClusterTrustBundle without signer name must not have \":\" in its name",
            );
        } else if let Err(fault) = name::subdomain(text) {
            faults.invalid_as(&place, text, fault);
        }
        return;
    }
    let prefix = format!("{}:", signer.text().replace('/', ":"));
    match text.strip_prefix(&prefix) {
        None => {
            let fault = format!(
                "ClusterTrustBundle for signerName {} must be named with prefix {prefix}",
                signer.text()
            );
            faults.invalid_as(&place, text, fault);
        }
        Some(rest) => {
            if let Err(fault) = name::subdomain(rest) {
                faults.invalid_as(&place, text, fault);
            }
        }
    }
    signer_name(&signer, faults);
}

fn bundle(at: &At<'_>, faults: &mut Faults) {
    if at.text().len() > SIZE_MAX {
        faults.too_long(at, SIZE_MAX);
        return;
    }
    let blocks = pem_blocks(at.text()).unwrap_or_default();
    if blocks.is_empty() {
        faults.invalid_as(at, "<value omitted>", "at least one trust anchor must be provided");
    }
    for (index, kind) in blocks.iter().enumerate().filter(|(_, kind)| **kind != "CERTIFICATE") {
        let text = format!("entry {index} has bad block type: {kind}");
        faults.invalid_as(at, "<value omitted>", text);
    }
}

impl Strategy for ClusterTrustBundle {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let mut faults = Faults::default();
        own_name(&at, &mut faults);
        bundle(&at.get2("spec", "trustBundle"), &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let (at, before) = (At::root(new), At::root(old));
        let mut faults = Faults::default();
        own_name(&at, &mut faults);
        let text = at.get2("spec", "trustBundle");
        if text.value != before.get2("spec", "trustBundle").value {
            bundle(&text, &mut faults);
        }
        faults.immutable(&at.get2("spec", "signerName"), &before.get2("spec", "signerName"));
        faults.0
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        vec![("spec.signerName", tree::text(object, "/spec/signerName").into())]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn a_signers_bundle_is_named_after_it() {
        let pem = "-----BEGIN CERTIFICATE-----\nZm9v\n-----END CERTIFICATE-----\n";
        let good = json!({"metadata": {"name": "a.b:c:d"}, "spec": {"signerName": "a.b/c", "trustBundle": pem}});
        assert_eq!(show(&ClusterTrustBundle.validate(&good)), "");
        assert_eq!(cells::show(&rows()[0], &good, "2026-01-01T00:00:00Z"), ["a.b/c"]);
        let bad =
            json!({"metadata": {"name": "x"}, "spec": {"signerName": "a.b/c", "trustBundle": ""}});
        assert_eq!(
            show(&ClusterTrustBundle.validate(&bad)),
            "metadata.name: Invalid value: \"x\": ClusterTrustBundle for signerName a.b/c must be named with prefix a.b:c:\n\
             spec.trustBundle: Invalid value: \"<value omitted>\": at least one trust anchor must be provided"
        );
    }
}
