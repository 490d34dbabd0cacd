//! `storage.k8s.io/v1 CSINode`: storage drivers on a node.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::pod_spec::volume_drivers;
use crate::kinds::{cells, row, tree};
use crate::resource::{Cell, Column, Resource, Scope, Strategy};

struct CsiNode;

const NODE_ID_MAX: usize = 256;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        columns: vec![
            Column::integer(
                "Drivers",
                Cell::Compute(|o, _| tree::list(o, "/spec/drivers").len().into()),
            ),
            cells::age(),
        ],
        needs_revision: true,
        shows_deleted: true,
        ..row("storage.k8s.io", "v1", "CSINode", "csinodes", &CsiNode)
    }]
}

impl Strategy for CsiNode {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        let mut seen = BTreeSet::new();
        for driver in At::root(object).get2("spec", "drivers").items() {
            volume_drivers::driver_name(&driver.get("name"), &mut faults);
            faults.unique(&driver.get("name"), &mut seen);
            let id = driver.get("nodeID");
            if id.is_zero() {
                faults.required(&id, "");
            } else if id.text().len() > NODE_ID_MAX {
                faults.invalid(&id, format!("must be {NODE_ID_MAX} characters or less"));
            }
            let count = driver.get2("allocatable", "count");
            faults.non_negative(&count);
            let mut keys = BTreeSet::new();
            for key in driver.get("topologyKeys").items() {
                // Upstream names the driver.
                let place = At { value: key.value, path: driver.path.clone() };
                if key.is_zero() {
                    faults.required(&place, "");
                }
                faults.unique(&place, &mut keys);
                faults.qualified(&place);
            }
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        let drivers: Vec<At<'_>> = At::root(new).get2("spec", "drivers").items().collect();
        for before in tree::list(old, "/spec/drivers") {
            let own_name = tree::text(before, "/name");
            for driver in drivers.iter().filter(|driver| driver.get("name").text() == own_name) {
                let mut fixed = driver.value.clone();
                // How many volumes fit may change.
                tree::restore(&mut fixed, before, "allocatable");
                if !tree::same(&fixed, before) {
                    let path = crate::field::Path::new("CSINodeDriver");
                    faults.invalid(&At { value: driver.value, path }, "field is immutable");
                }
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
    fn drivers_stay_as_they_are() {
        let old = json!({"spec": {"drivers": [{"name": "a.b", "nodeID": "n"}]}});
        assert_eq!(show(&CsiNode.validate(&old)), "");
        assert_eq!(cells::show(&rows()[0], &old, "2026-01-01T00:00:00Z")[0], "1");
        let new = json!({"spec": {"drivers": [{"name": "a.b", "nodeID": "m"}, {"name": "c"}]}});
        assert_eq!(
            show(&CsiNode.validate_update(&new, &old)),
            "spec.drivers[1].nodeID: Required value\n\
             CSINodeDriver: Invalid value: {\"name\":\"a.b\",\"nodeID\":\"m\"}: field is immutable"
        );
    }
}
