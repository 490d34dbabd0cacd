//! `apps/v1 ControllerRevision`: one immutable state of a workload.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree};
use crate::meta;
use crate::resource::{Cell, Column, Resource, Strategy};

struct ControllerRevision;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        columns: vec![
            Column::new("Controller", Cell::Compute(|o, _| controller(o).into())),
            Column::new("Revision", Cell::Compute(|o, _| tree::count(o, "/revision").into())),
            cells::age(),
        ],
        ..row("apps", "v1", "ControllerRevision", "controllerrevisions", &ControllerRevision)
    }]
}

/// `kind.group/name` of the controlling owner.
fn controller(object: &Value) -> String {
    let owners = meta::get(object, "ownerReferences").and_then(Value::as_array);
    let Some(owner) = owners.into_iter().flatten().find(|owner| tree::flag(owner, "/controller"))
    else {
        return "<none>".to_owned();
    };
    let kind = tree::text(owner, "/kind").to_lowercase();
    let name = tree::text(owner, "/name");
    match tree::text(owner, "/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

impl Strategy for ControllerRevision {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let mut faults = Faults::default();
        let data = at.get("data");
        if !data.is_set() {
            faults.required(&data, "data is mandatory");
        } else if !data.value.is_object() {
            faults.required(&data, "data must be a valid JSON object");
        }
        faults.non_negative(&at.get("revision"));
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        faults.immutable(&At::root(new).get("data"), &At::root(old).get("data"));
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn data_stays_and_the_owner_is_shown() {
        let old = json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1",
            "kind": "DaemonSet", "name": "d", "controller": true}]}, "revision": 3, "data": {"a": 1}});
        assert_eq!(show(&ControllerRevision.validate(&old)), "");
        assert_eq!(
            cells::show(&rows()[0], &old, "2026-01-01T00:00:00Z"),
            ["daemonset.apps/d", "3", "<unknown>"]
        );
        let mut new = old.clone();
        new["data"]["a"] = json!(2);
        assert_eq!(
            show(&ControllerRevision.validate_update(&new, &old)),
            "data: Invalid value: {\"a\":2}: field is immutable"
        );
    }
}
