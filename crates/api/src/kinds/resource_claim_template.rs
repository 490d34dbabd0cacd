//! `resource.k8s.io ResourceClaimTemplate`: makes claims per pod.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::devices::{self, Form};
use crate::kinds::{cells, row, tree};
use crate::resource::{Resource, Strategy};

struct ResourceClaimTemplate(Form);

const PLURAL: &str = "resourceclaimtemplates";
const KIND: &str = "ResourceClaimTemplate";

static NESTED: ResourceClaimTemplate = ResourceClaimTemplate(Form::Nested);
static FLAT: ResourceClaimTemplate = ResourceClaimTemplate(Form::Flat);

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version: &'static str| {
        let strategy = if Form::of(version) == Form::Nested { &NESTED } else { &FLAT };
        Resource {
            columns: vec![cells::age()],
            off_by_default: version != "v1",
            shows_deleted: true,
            ..row(devices::GROUP, version, KIND, PLURAL, strategy).stored_as(
                devices::GROUP,
                "v1",
                PLURAL,
            )
        }
    };
    devices::VERSIONS.map(of).into()
}

fn claim_spec(object: &mut Value) -> &mut Value {
    tree::make(tree::make(object, "spec"), "spec")
}

impl Strategy for ResourceClaimTemplate {
    fn default(&self, object: &mut Value) {
        let spec = claim_spec(object);
        devices::claim_to_storage(spec, self.0);
        devices::default_claim(spec);
        devices::claim_from_storage(spec, self.0);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object).get("spec");
        let mut spec = at.get("spec").value.clone();
        devices::claim_to_storage(&mut spec, self.0);
        let mut faults = Faults::default();
        faults.labels(&at.get2("metadata", "labels"));
        faults.annotations(&at.get2("metadata", "annotations"));
        devices::claim(&At { value: &spec, path: at.get("spec").path }, &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        faults.immutable(&At::root(new).get("spec"), &At::root(old).get("spec"));
        faults.0.extend(self.validate(new));
        faults.0
    }

    fn to_storage(&self, object: &mut Value) {
        devices::claim_to_storage(claim_spec(object), self.0);
    }

    fn from_storage(&self, object: &mut Value) {
        devices::claim_from_storage(claim_spec(object), self.0);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn the_template_stays() {
        let mut old = json!({"spec": {"spec": {"devices": {"requests": [{"name": "a", "deviceClassName": "c"}]}}}});
        FLAT.default(&mut old);
        assert_eq!(show(&FLAT.validate(&old)), "");
        let mut new = old.clone();
        new["spec"]["spec"]["devices"]["requests"][0]["name"] = json!("b");
        assert!(show(&FLAT.validate_update(&new, &old)).ends_with("field is immutable"));
        FLAT.to_storage(&mut new);
        assert_eq!(new["spec"]["spec"]["devices"]["requests"][0]["exactly"]["count"], 1);
    }
}
