//! `resource.k8s.io ResourceSlice`: devices that a driver offers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::devices::{self, Form};
use crate::kinds::{cells, row, tree};
use crate::name;
use crate::object::SelectableFields;
use crate::resource::{Cell, Column, Resource, Scope, Strategy};

struct ResourceSlice(Form);

const PLURAL: &str = "resourceslices";
const DEVICES_MAX: usize = 128;
const ONE_PLACE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required";

static NESTED: ResourceSlice = ResourceSlice(Form::Nested);
static FLAT: ResourceSlice = ResourceSlice(Form::Flat);
static FLAT_BARE: ResourceSlice = ResourceSlice(Form::FlatBare);

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version: &'static str| {
        let strategy = match Form::of(version) {
            Form::Nested => &NESTED,
            Form::Flat => &FLAT,
            Form::FlatBare => &FLAT_BARE,
        };
        Resource {
            scope: Scope::Cluster,
            columns: vec![
                Column::new("Node", Cell::Pointer("/spec/nodeName")),
                Column::new("Driver", Cell::Pointer("/spec/driver")),
                Column::new("Pool", Cell::Pointer("/spec/pool/name")),
                cells::age(),
            ],
            has_generation: true,
            off_by_default: version != "v1",
            shows_deleted: true,
            ..row(devices::GROUP, version, "ResourceSlice", PLURAL, strategy).stored_as(
                devices::GROUP,
                "v1",
                PLURAL,
            )
        }
    };
    devices::VERSIONS.map(of).into()
}

fn pool(at: &At<'_>, faults: &mut Faults) {
    devices::pool_name(&at.get("name"), faults);
    let (count, generation) = (at.get("resourceSliceCount"), at.get("generation"));
    if count.int().unwrap_or_default() <= 0 {
        let shown = count.int().unwrap_or_default();
        faults.invalid_as(&count, shown, "must be greater than zero");
    }
    if generation.int().is_some_and(|generation| generation < 0) {
        faults.invalid(&generation, "must be greater than or equal to zero");
    }
}

fn place(spec: &At<'_>, faults: &mut Faults) {
    let (node, selector) = (spec.get("nodeName"), spec.get("nodeSelector"));
    let per_device = spec.get("perDeviceNodeSelection").flag();
    let given = [!node.is_zero(), selector.is_set(), spec.get("allNodes").flag(), per_device];
    if !node.is_zero() {
        faults.rule(&node, name::subdomain);
    }
    if selector.is_set() && selector.get("nodeSelectorTerms").len() != 1 {
        faults.invalid(
            &selector.get("nodeSelectorTerms"),
            "must have exactly one node selector term",
        );
    }
    match given.iter().filter(|is_given| **is_given).count() {
        0 => faults.required(spec, ONE_PLACE),
        1 => {}
        _ => faults.invalid_as(spec, Value::Null, ONE_PLACE),
    }
}

impl Strategy for ResourceSlice {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut stored = object.get("spec").cloned().unwrap_or_default();
        devices::slice_to_storage(&mut stored, self.0);
        let spec = At { value: &stored, path: At::root(object).get("spec").path };
        let list = spec.get("devices");
        let mut faults = Faults::default();
        let mut names = BTreeSet::new();
        devices::driver_name(&spec.get("driver"), &mut faults);
        pool(&spec.get("pool"), &mut faults);
        place(&spec, &mut faults);
        faults.at_most(&list, DEVICES_MAX);
        for device in list.items().take(DEVICES_MAX) {
            devices::device(&device, &mut faults);
            faults.unique(&device.get("name"), &mut names);
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        let mut faults = Faults(self.validate(new));
        faults.immutable(&spec.get2("pool", "name"), &before.get2("pool", "name"));
        faults.immutable(&spec.get("driver"), &before.get("driver"));
        faults.immutable(&spec.get("nodeName"), &before.get("nodeName"));
        faults.0
    }

    fn to_storage(&self, object: &mut Value) {
        devices::slice_to_storage(tree::make(object, "spec"), self.0);
    }

    fn from_storage(&self, object: &mut Value) {
        devices::slice_from_storage(tree::make(object, "spec"), self.0);
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        vec![
            ("spec.nodeName", tree::text(object, "/spec/nodeName").into()),
            ("spec.driver", tree::text(object, "/spec/driver").into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn faults_and_columns() {
        let good = json!({"spec": {"driver": "a.b", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1},
            "devices": [{"name": "d", "attributes": {"v": {"version": "1.0.0"}}, "capacity": {"m": {"value": "1"}}}]}});
        assert_eq!(show(&NESTED.validate(&good)), "");
        assert_eq!(cells::show(&rows()[0], &good, "2026-01-01T00:00:00Z")[..3], ["n", "a.b", "p"]);
        let bad = json!({"spec": {"driver": "a.b", "pool": {"name": "p"}, "devices": [
            {"name": "d", "attributes": {"1": {}}}, {"name": "d"}]}});
        let shown = show(&NESTED.validate(&bad));
        assert!(shown.starts_with("spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero\nspec: Required value: exactly one of"), "{shown}");
        assert!(shown.ends_with("spec.devices[0].attributes[1]: Required value: exactly one value must be specified\nspec.devices[1].name: Duplicate value: \"d\""), "{shown}");
    }
}
