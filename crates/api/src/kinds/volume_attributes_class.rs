//! `storage.k8s.io VolumeAttributesClass`: mutable parameters of volumes.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::storage_class::{named_with_default, parameters, shown_name};
use crate::kinds::{cells, row, tree};
use crate::resource::{Cell, Column, Names, Resource, Scope, Strategy};

struct VolumeAttributesClass;

const DEFAULT_ANNOTATIONS: [&str; 1] =
    ["volumeattributesclass.alpha.kubernetes.io/is-default-class"];

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version: &'static str| Resource {
        short_names: Names::Static(&["vac"]),
        scope: Scope::Cluster,
        columns: vec![
            named_with_default(Cell::Compute(|o, _| shown_name(o, &DEFAULT_ANNOTATIONS).into())),
            Column::new("DriverName", Cell::Pointer("/driverName")),
            cells::age(),
        ],
        off_by_default: version != "v1",
        shows_deleted: true,
        ..row(
            "storage.k8s.io",
            version,
            "VolumeAttributesClass",
            "volumeattributesclasses",
            &VolumeAttributesClass,
        )
        .stored_as("storage.k8s.io", "v1", "volumeattributesclasses")
    };
    ["v1", "v1beta1", "v1alpha1"].map(of).into()
}

impl Strategy for VolumeAttributesClass {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let mut faults = Faults::default();
        let driver = at.get("driverName");
        if driver.is_zero() {
            faults.required(&driver, "");
        } else {
            let text = driver.text().to_lowercase();
            faults.qualified_as(&driver, &text, &text);
        }
        if at.get("parameters").len() == 0 {
            faults.required(&at.get("parameters"), "must contain at least one key/value pair");
        }
        parameters(&at.get("parameters"), &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let at = At::root(new);
        let mut faults = Faults::default();
        for field in ["driverName", "parameters"] {
            if !tree::same_at(new, old, &format!("/{field}")) {
                faults.forbidden(&at.get(field), format!("updates to {field} are forbidden."));
            }
        }
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
        let old = json!({"metadata": {"name": "v"}, "driverName": "d", "parameters": {"a": "b"}});
        assert_eq!(show(&VolumeAttributesClass.validate(&old)), "");
        assert_eq!(cells::show(&rows()[0], &old, "2026-01-01T00:00:00Z"), ["v", "d", "<unknown>"]);
        let new = json!({"driverName": "e", "parameters": {"a": "b"}});
        assert_eq!(
            show(&VolumeAttributesClass.validate_update(&new, &old)),
            "driverName: Forbidden: updates to driverName are forbidden."
        );
        assert_eq!(
            show(&VolumeAttributesClass.validate(&json!({"driverName": "d"}))),
            "parameters: Required value: must contain at least one key/value pair"
        );
    }
}
