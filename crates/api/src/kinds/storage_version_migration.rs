//! `storagemigration.k8s.io StorageVersionMigration`: rewrites stored objects.
//!
//! v1 and v1beta1 name a group and resource; v1alpha1 a version too, which they do without.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{row, tree};
use crate::resource::{Cell, Column, Resource, Scope, Strategy, Subresource};

/// The versions from beta on.
struct StorageVersionMigration;
/// The first version.
struct Alpha;

const GROUP: &str = "storagemigration.k8s.io";
const KIND: &str = "StorageVersionMigration";
const PLURAL: &str = "storageversionmigrations";

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version: &'static str, strategy: &'static dyn Strategy| Resource {
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        columns: vec![Column::new("Resource", Cell::Compute(|o, _| resource(o).into()))],
        has_status: true,
        off_by_default: version != "v1",
        needs_revision: true,
        ..row(GROUP, version, KIND, PLURAL, strategy).stored_as(GROUP, "v1", PLURAL)
    };
    vec![
        of("v1", &StorageVersionMigration),
        of("v1beta1", &StorageVersionMigration),
        of("v1alpha1", &Alpha),
    ]
}

fn resource(object: &Value) -> String {
    let text = |field: &str| tree::text(object, &format!("/spec/resource/{field}"));
    let parts = [text("resource"), text("version"), text("group")];
    let shown: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    shown.join(".")
}

fn update(new: &Value, old: &Value, fields: &[&str], faults: &mut Faults) {
    let at = At::root(new);
    for field in fields {
        let now = at.get2("spec", "resource").get(field);
        let place = At { value: now.value, path: at.named(field).path };
        faults.immutable(&place, &At::root(old).get2("spec", "resource").get(field));
    }
}

impl Strategy for StorageVersionMigration {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object).get2("spec", "resource").get("resource");
        let mut faults = Faults::default();
        if at.is_zero() {
            faults.required(&at, "resource is required");
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        update(new, old, &["group", "resource"], &mut faults);
        faults.0
    }
}

impl Strategy for Alpha {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let version = At::root(object).get2("spec", "resource").get("version");
        let mut faults = Faults(StorageVersionMigration.validate(object));
        if version.is_zero() {
            faults.required(&version, "version is required");
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        update(new, old, &["group", "version", "resource"], &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::cells;
    use crate::kinds::check::show;

    #[test]
    fn the_resource_is_named_and_stays() {
        let old = json!({"spec": {"resource": {"group": "apps", "resource": "deployments"}}});
        assert_eq!(show(&StorageVersionMigration.validate(&old)), "");
        assert_eq!(
            show(&Alpha.validate(&old)),
            "spec.resource.version: Required value: version is required"
        );
        assert_eq!(cells::show(&rows()[0], &old, "2026-01-01T00:00:00Z"), ["deployments.apps"]);
        let new = json!({"spec": {"resource": {"group": "apps", "resource": "pods"}}});
        assert_eq!(
            show(&StorageVersionMigration.validate_update(&new, &old)),
            "resource: Invalid value: \"pods\": field is immutable"
        );
    }
}
