//! `resource.k8s.io DeviceClass`: a kind of device.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, devices, row, tree};
use crate::resource::{Resource, Scope, Strategy};

struct DeviceClass;

const PLURAL: &str = "deviceclasses";
const CONFIGS_MAX: usize = 32;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version: &'static str| Resource {
        scope: Scope::Cluster,
        columns: vec![cells::age()],
        has_generation: true,
        off_by_default: version != "v1",
        shows_deleted: true,
        ..row(devices::GROUP, version, "DeviceClass", PLURAL, &DeviceClass).stored_as(
            devices::GROUP,
            "v1",
            PLURAL,
        )
    };
    devices::VERSIONS.map(of).into()
}

impl Strategy for DeviceClass {
    fn default(&self, object: &mut Value) {
        tree::make(object, "spec");
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let mut faults = Faults::default();
        devices::selectors(&spec.get("selectors"), &mut faults);
        faults.at_most(&spec.get("config"), CONFIGS_MAX);
        for config in spec.get("config").items() {
            devices::configuration(&config, &mut faults);
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
    fn configuration_is_opaque() {
        let good = json!({"spec": {"selectors": [{"cel": {"expression": "true"}}],
            "config": [{"opaque": {"driver": "a.b", "parameters": {"x": 1}}}]}});
        assert_eq!(show(&DeviceClass.validate(&good)), "");
        let bad = json!({"spec": {"selectors": [{}], "config": [{}]}});
        assert_eq!(
            show(&DeviceClass.validate(&bad)),
            "spec.selectors[0].cel: Required value\nspec.config[0].opaque: Required value"
        );
    }
}
