//! `v1 ServiceAccount`: an identity for pods.

use serde_json::{Value, json};

use crate::kinds::{cells, row, tree};
use crate::resource::{Cell, Column, Names, Resource, Strategy, Subresource};

struct ServiceAccount;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["sa"]),
        subresources: vec![Subresource {
            name: "token",
            kind: "TokenRequest",
            group: "authentication.k8s.io",
            version: "v1",
            verbs: &["create"],
        }],
        columns: vec![
            Column::new("Secrets", Cell::Compute(|o, _| tree::list(o, "/secrets").len().into())),
            cells::age(),
        ],
        shows_deleted: true,
        ..row("", "v1", "ServiceAccount", "serviceaccounts", &ServiceAccount)
    }]
}

/// References to secrets are by name alone.
fn clean_references(object: &mut Value) {
    tree::each(object, "secrets", |reference| {
        *reference = json!({"name": tree::text(reference, "/name")});
    });
}

impl Strategy for ServiceAccount {
    fn prepare_for_create(&self, object: &mut Value) {
        clean_references(object);
    }

    fn prepare_for_update(&self, new: &mut Value, _old: &Value) {
        clean_references(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_secrets_are_kept() {
        let mut object = json!({"secrets": [{"name": "a", "uid": "x"}]});
        ServiceAccount.prepare_for_create(&mut object);
        assert_eq!(object["secrets"], json!([{"name": "a"}]));
        assert_eq!(cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"), ["1", "<unknown>"]);
    }
}
