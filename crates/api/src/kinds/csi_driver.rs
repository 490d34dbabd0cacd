//! `storage.k8s.io/v1 CSIDriver`: how a storage driver wants to be treated.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree};
use crate::resource::{Cell, Column, Resource, Scope, Strategy};

struct CsiDriver;

const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        columns: columns(),
        needs_revision: true,
        shows_deleted: true,
        ..row("storage.k8s.io", "v1", "CSIDriver", "csidrivers", &CsiDriver)
    }]
}

fn columns() -> Vec<Column> {
    vec![
        cells::boolean("AttachRequired", Cell::Compute(|o, _| attach_required(o).into())),
        cells::boolean(
            "PodInfoOnMount",
            Cell::Compute(|o, _| tree::flag(o, "/spec/podInfoOnMount").into()),
        ),
        cells::boolean(
            "StorageCapacity",
            Cell::Compute(|o, _| tree::flag(o, "/spec/storageCapacity").into()),
        ),
        Column::new("TokenRequests", Cell::Compute(|o, _| audiences(o).into())),
        cells::boolean(
            "RequiresRepublish",
            Cell::Compute(|o, _| tree::flag(o, "/spec/requiresRepublish").into()),
        ),
        Column::new(
            "Modes",
            Cell::Compute(|o, _| {
                cells::or_none(&tree::texts(o, "/spec/volumeLifecycleModes").join(",")).into()
            }),
        ),
        cells::age(),
    ]
}

fn attach_required(object: &Value) -> bool {
    tree::at(object, "/spec/attachRequired").and_then(Value::as_bool).unwrap_or(true)
}

fn audiences(object: &Value) -> String {
    match tree::at(object, "/spec/tokenRequests").and_then(Value::as_array) {
        Some(requests) => {
            requests.iter().map(|r| tree::text(r, "/audience")).collect::<Vec<_>>().join(",")
        }
        None => "<unset>".to_owned(),
    }
}

impl Strategy for CsiDriver {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        tree::fill(spec, "attachRequired", true);
        for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            tree::fill(spec, field, false);
        }
        tree::fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        tree::fill_zero(spec, "volumeLifecycleModes", json!(["Persistent"]));
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let mut faults = Faults::default();
        let policy = spec.get("fsGroupPolicy");
        if policy.is_set() {
            faults.optional_one_of(&policy, &["File", "None", "ReadWriteOnceWithFSType"]);
        } else {
            faults.required(&policy, "");
        }
        let mut seen = BTreeSet::new();
        for request in spec.get("tokenRequests").items() {
            faults.unique(&request.get("audience"), &mut seen);
            let seconds = request.get("expirationSeconds");
            if seconds.int().is_some_and(|seconds| seconds < TOKEN_SECONDS_MIN) {
                faults.invalid(&seconds, "may not specify a duration less than 10 minutes");
            }
            if seconds.int().is_some_and(|seconds| seconds > TOKEN_SECONDS_MAX) {
                faults.invalid(&seconds, "may not specify a duration larger than 2^32 seconds");
            }
        }
        for mode in spec.get("volumeLifecycleModes").items() {
            let place = At { value: mode.value, path: spec.get("volumeLifecycleModes").path };
            faults.optional_one_of(&place, &["Ephemeral", "Persistent"]);
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        let mut faults = Faults(self.validate(new));
        for field in ["attachRequired", "volumeLifecycleModes"] {
            faults.immutable(&spec.get(field), &before.get(field));
        }
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn defaults_faults_and_columns() {
        let mut object = json!({});
        CsiDriver.default(&mut object);
        assert_eq!(show(&CsiDriver.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["true", "false", "false", "<unset>", "false", "Persistent", "<unknown>"]
        );
        let mut new = object.clone();
        new["spec"]["attachRequired"] = json!(false);
        assert_eq!(
            show(&CsiDriver.validate_update(&new, &object)),
            "spec.attachRequired: Invalid value: false: field is immutable"
        );
    }
}
