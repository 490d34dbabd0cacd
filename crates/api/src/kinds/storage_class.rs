//! `storage.k8s.io/v1 StorageClass`: a way to provision volumes.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree};
use crate::meta;
use crate::resource::{Cell, Column, Names, Resource, Scope, Strategy};

struct StorageClass;

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;
const DEFAULT_ANNOTATIONS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["sc"]),
        scope: Scope::Cluster,
        columns: vec![
            named_with_default(Cell::Compute(|o, _| shown_name(o, &DEFAULT_ANNOTATIONS).into())),
            Column::new("Provisioner", Cell::Pointer("/provisioner")),
            Column::new(
                "ReclaimPolicy",
                Cell::Compute(|o, _| cells::number_or_text(o, "/reclaimPolicy", "Delete").into()),
            ),
            Column::new(
                "VolumeBindingMode",
                Cell::Compute(|o, _| {
                    cells::number_or_text(o, "/volumeBindingMode", "Immediate").into()
                }),
            ),
            Column::new(
                "AllowVolumeExpansion",
                Cell::Compute(|o, _| tree::flag(o, "/allowVolumeExpansion").into()),
            ),
            cells::age(),
        ],
        shows_deleted: true,
        ..row("storage.k8s.io", "v1", "StorageClass", "storageclasses", &StorageClass)
    }]
}

/// A `Name` column with content of its own.
pub(super) fn named_with_default(cell: Cell) -> Column {
    Column { format: "name".into(), ..Column::new("Name", cell) }
}

/// The name, and whether one of the annotations says that the class is the default.
pub(super) fn shown_name(object: &Value, annotations: &[&str]) -> String {
    let is_default =
        annotations.iter().any(|annotation| meta::annotation(object, annotation) == Some("true"));
    let name = meta::name(object);
    if is_default { format!("{name} (default)") } else { name.to_owned() }
}

/// Parameters that a driver interprets.
pub(super) fn parameters(at: &At<'_>, faults: &mut Faults) {
    if at.len() > PARAMETERS_MAX {
        faults.too_long(at, PARAMETERS_MAX);
        return;
    }
    let mut size = 0;
    for (key, value) in at.entries() {
        if key.is_empty() {
            faults.invalid_as(at, key, "field can not be empty.");
        }
        size += key.len() + value.text().len();
    }
    if size > PARAMETERS_BYTES_MAX {
        faults.too_long(at, PARAMETERS_BYTES_MAX);
    }
}

fn topologies(at: &At<'_>, faults: &mut Faults) {
    let mut terms = HashSet::new();
    for term in at.items() {
        let mut keys = BTreeSet::new();
        let expressions = term.get("matchLabelExpressions");
        if !terms.insert(expressions.value) {
            faults.duplicate(&expressions);
        }
        if expressions.len() == 0 {
            faults.required(&expressions, "");
        }
        for expression in expressions.items() {
            let (key, values) = (expression.get("key"), expression.get("values"));
            if values.len() == 0 {
                faults.required(&values, "");
            }
            let mut seen = BTreeSet::new();
            for value in values.items() {
                faults.unique(&value, &mut seen);
            }
            faults.qualified(&key);
            faults.unique(&key, &mut keys);
        }
    }
}

impl Strategy for StorageClass {
    fn default(&self, object: &mut Value) {
        tree::fill(object, "reclaimPolicy", "Delete");
        tree::fill(object, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let provisioner = at.get("provisioner");
        let mut faults = Faults::default();
        if provisioner.is_zero() {
            faults.required(&provisioner, "");
        } else {
            let text = provisioner.text().to_lowercase();
            faults.qualified_as(&provisioner, &text, &text);
        }
        parameters(&at.get("parameters"), &mut faults);
        if !at.get("reclaimPolicy").is_zero() {
            faults.optional_one_of(&at.get("reclaimPolicy"), &["Delete", "Retain"]);
        }
        faults
            .optional_one_of(&at.get("volumeBindingMode"), &["Immediate", "WaitForFirstConsumer"]);
        topologies(&at.get("allowedTopologies"), &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let (at, before) = (At::root(new), At::root(old));
        let mut faults = Faults(self.validate(new));
        for field in ["parameters", "provisioner", "reclaimPolicy"] {
            if !tree::same(at.get(field).value, before.get(field).value) {
                faults.forbidden(&at.get(field), format!("updates to {field} are forbidden."));
            }
        }
        faults.immutable(&at.get("volumeBindingMode"), &before.get("volumeBindingMode"));
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn defaults_faults_and_columns() {
        let mut old = json!({"metadata": {"name": "s", "annotations": {
            "storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "a.b/c"});
        StorageClass.default(&mut old);
        assert_eq!(show(&StorageClass.validate(&old)), "");
        assert_eq!(
            cells::show(&rows()[0], &old, "2026-01-01T00:00:00Z"),
            ["s (default)", "a.b/c", "Delete", "Immediate", "false", "<unknown>"]
        );
        let term = json!({"matchLabelExpressions": [{"key": "a", "values": ["b"]}]});
        let mut torn = old.clone();
        torn["allowedTopologies"] = json!([term, term, {}]);
        assert_eq!(
            show(&StorageClass.validate(&torn)),
            "allowedTopologies[1].matchLabelExpressions: Duplicate value: [{\"key\":\"a\",\"values\":[\"b\"]}]\n\
             allowedTopologies[2].matchLabelExpressions: Required value"
        );
        let mut new = old.clone();
        new["provisioner"] = json!("x");
        new["volumeBindingMode"] = json!("WaitForFirstConsumer");
        assert_eq!(
            show(&StorageClass.validate_update(&new, &old)),
            "provisioner: Forbidden: updates to provisioner are forbidden.\n\
             volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable"
        );
        assert_eq!(rows()[0].table_columns().iter().filter(|c| c.name == "Name").count(), 1);
    }
}
