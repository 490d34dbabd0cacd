//! `internal.apiserver.k8s.io/v1alpha1 StorageVersion`: what servers encode.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, flow_schema, row, tree};
use crate::meta;
use crate::name;
use crate::resource::{Cell, Column, NameRule, Resource, Scope, Strategy, Subresource};

struct StorageVersion;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        columns: vec![
            Column::new(
                "CommonEncodingVersion",
                Cell::Compute(|o, _| {
                    cells::number_or_text(o, "/status/commonEncodingVersion", "<unset>").into()
                }),
            ),
            Column::new("StorageVersions", Cell::Compute(|o, _| versions(o).into())),
            cells::age(),
        ],
        name_rule: NameRule::Own,
        has_status: true,
        off_by_default: true,
        needs_revision: true,
        ..row(
            "internal.apiserver.k8s.io",
            "v1alpha1",
            "StorageVersion",
            "storageversions",
            &StorageVersion,
        )
    }]
}

fn versions(object: &Value) -> String {
    let all: Vec<String> = tree::list(object, "/status/storageVersions")
        .iter()
        .map(|version| {
            let server = tree::text(version, "/apiServerID");
            format!("{server}={}", tree::text(version, "/encodingVersion"))
        })
        .collect();
    if all.is_empty() { "<unset>".to_owned() } else { cells::some(&all) }
}

fn own_name(object: &At<'_>, faults: &mut Faults) {
    let (text, place) = (meta::name(object.value), object.get2("metadata", "name"));
    let Some((group, resource)) = text.rsplit_once('.') else {
        faults.invalid_as(&place, text, "name must be in the form of <group>.<resource>");
        return;
    };
    if let Err(fault) = name::subdomain(group) {
        faults.invalid_as(&place, text, format!("the group segment {fault}"));
    }
    if let Err(fault) = name::label_1035(resource) {
        faults.invalid_as(&place, text, format!("the resource segment {fault}"));
    }
}

fn status(at: &At<'_>, faults: &mut Faults) {
    let all = at.get("storageVersions");
    let (mut servers, mut encodings) = (BTreeSet::new(), BTreeSet::new());
    for version in all.items() {
        let (server, encoding) = (version.get("apiServerID"), version.get("encodingVersion"));
        let decodable = version.get("decodableVersions");
        faults.unique(&server, &mut servers);
        faults.rule(&server, name::subdomain);
        if !decodable.items().any(|known| known.text() == encoding.text()) {
            let text =
                format!("decodableVersions must include encodingVersion {}", encoding.text());
            faults.invalid(&decodable, text);
        }
        encodings.insert(encoding.text());
    }
    let common = at.get("commonEncodingVersion");
    let actual = if encodings.len() == 1 { encodings.first().copied() } else { None };
    match (actual, common.is_set()) {
        (None, true) => faults.invalid(&common, "should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet"),
        (Some(actual), false) => {
            faults.invalid(&common, format!("the common encoding version is {actual}"));
        }
        (Some(actual), true) if actual != common.text() => {
            faults.invalid(&common, format!("the actual common encoding version is {actual}"));
        }
        _ => {}
    }
    flow_schema::condition_types(&at.get("conditions"), faults);
}

impl Strategy for StorageVersion {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        own_name(&At::root(object), &mut faults);
        faults.0
    }

    fn validate_update(&self, _new: &Value, _old: &Value) -> Vec<Error> {
        Vec::new()
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        status(&At::root(new).get("status"), &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn servers_agree_or_not() {
        let good = json!({"metadata": {"name": "apps.deployments"}, "status": {"commonEncodingVersion": "v1",
            "storageVersions": [{"apiServerID": "a", "encodingVersion": "v1", "decodableVersions": ["v1"]}]}});
        assert_eq!(show(&StorageVersion.validate(&good)), "");
        assert_eq!(show(&StorageVersion.validate_status_update(&good, &good)), "");
        assert_eq!(cells::show(&rows()[0], &good, "2026-01-01T00:00:00Z")[..2], ["v1", "a=v1"]);
        let mut bad = good;
        bad["status"]["commonEncodingVersion"] = json!("v2");
        assert_eq!(
            show(&StorageVersion.validate_status_update(&bad, &bad)),
            "status.commonEncodingVersion: Invalid value: \"v2\": the actual common encoding version is v1"
        );
    }
}
