//! `resource.k8s.io ResourceClaim`: a request for devices.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::devices::{self, Form};
use crate::kinds::{cells, row, tree};
use crate::meta;
use crate::name;
use crate::resource::{Cell, Column, Resource, Strategy, Subresource};

struct ResourceClaim(Form);

const PLURAL: &str = "resourceclaims";
const CONSUMERS_MAX: usize = 256;
const RESULTS_MAX: usize = 32;
const CONFIGS_MAX: usize = 64;

static NESTED: ResourceClaim = ResourceClaim(Form::Nested);
static FLAT: ResourceClaim = ResourceClaim(Form::Flat);
static FLAT_BARE: ResourceClaim = ResourceClaim(Form::FlatBare);

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let of = |version: &'static str| {
        let strategy = match Form::of(version) {
            Form::Nested => &NESTED,
            Form::Flat => &FLAT,
            Form::FlatBare => &FLAT_BARE,
        };
        Resource {
            subresources: vec![Subresource::STATUS],
            columns: vec![
                Column::new("State", Cell::Compute(|o, _| state(o).into())),
                cells::age(),
            ],
            has_status: true,
            off_by_default: version != "v1",
            shows_deleted: true,
            ..row(devices::GROUP, version, "ResourceClaim", PLURAL, strategy).stored_as(
                devices::GROUP,
                "v1",
                PLURAL,
            )
        }
    };
    devices::VERSIONS.map(of).into()
}

fn state(object: &Value) -> String {
    let mut states = Vec::new();
    let is_deleting = meta::is_deleting(object);
    if is_deleting {
        states.push("deleted");
    }
    if tree::at(object, "/status/allocation").is_some() {
        states.push("allocated");
        if !tree::list(object, "/status/reservedFor").is_empty() {
            states.push("reserved");
        }
    } else if !is_deleting {
        states.push("pending");
    }
    states.join(",")
}

/// The object's spec in the storage form.
fn stored_spec(object: &Value, form: Form) -> Value {
    let mut spec = object.get("spec").cloned().unwrap_or_default();
    devices::claim_to_storage(&mut spec, form);
    spec
}

fn allocation(at: &At<'_>, known: &BTreeSet<String>, faults: &mut Faults) {
    let devices_at = at.get("devices");
    faults.at_most(&devices_at.get("results"), RESULTS_MAX);
    for result in devices_at.get("results").items() {
        devices::request_reference(&result.get("request"), known, faults);
        devices::driver_name(&result.get("driver"), faults);
        devices::pool_name(&result.get("pool"), faults);
        faults.required_rule(&result.get("device"), name::label);
    }
    faults.at_most(&devices_at.get("config"), CONFIGS_MAX);
    for config in devices_at.get("config").items() {
        faults.one_of(&config.get("source"), &["FromClaim", "FromClass"]);
        for reference in config.get("requests").items() {
            devices::request_reference(&reference, known, faults);
        }
        devices::configuration(&config, faults);
    }
}

fn consumers(new: &Value, old: &Value, at: &At<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    faults.at_most(at, CONSUMERS_MAX);
    for consumer in at.items() {
        for field in ["resource", "name", "uid"] {
            if consumer.get(field).is_zero() {
                faults.required(&consumer.get(field), "");
            }
        }
        faults.unique(&consumer.get("uid"), &mut seen);
    }
    if at.len() == 0 {
        return;
    }
    if tree::at(new, "/status/allocation").is_none() {
        faults.forbidden(at, "may not be specified when `allocated` is not set");
    } else if meta::is_deleting(new) {
        let before = tree::list(old, "/status/reservedFor");
        if at.items().any(|consumer| !before.contains(consumer.value)) {
            faults.forbidden(at, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set");
        }
    }
}

impl Strategy for ResourceClaim {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        devices::claim_to_storage(spec, self.0);
        devices::default_claim(spec);
        devices::claim_from_storage(spec, self.0);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({}));
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = stored_spec(object, self.0);
        let at = At { value: &spec, path: At::root(object).get("spec").path };
        let mut faults = Faults::default();
        devices::claim(&at, &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        faults.immutable(&At::root(new).get("spec"), &At::root(old).get("spec"));
        faults.0.extend(self.validate(new));
        faults.0
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        meta::keep(new, old, meta::NOT_OF_STATUS);
        // What is said about devices goes with their allocation.
        if tree::at(new, "/status/allocation").is_none()
            && let Some(status) = tree::child(new, "status")
        {
            tree::remove(status, "devices");
        }
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let status = At::root(new).get("status");
        let mut faults = Faults::default();
        consumers(new, old, &status.get("reservedFor"), &mut faults);
        let (now, before) = (status.get("allocation"), At::root(old).get2("status", "allocation"));
        if now.is_set() && before.is_set() {
            faults.immutable(&now, &before);
        } else if now.is_set() {
            let spec = stored_spec(new, self.0);
            let requests = At::root(&spec).get2("devices", "requests");
            allocation(&now, &devices::request_names(&requests), &mut faults);
        }
        faults.0
    }

    fn to_storage(&self, object: &mut Value) {
        devices::claim_to_storage(tree::make(object, "spec"), self.0);
    }

    fn from_storage(&self, object: &mut Value) {
        devices::claim_from_storage(tree::make(object, "spec"), self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn defaults_depend_on_the_version() {
        let mut nested = json!({"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c"}}]}}});
        let mut flat =
            json!({"spec": {"devices": {"requests": [{"name": "a", "deviceClassName": "c"}]}}});
        NESTED.default(&mut nested);
        FLAT.default(&mut flat);
        assert_eq!(flat["spec"]["devices"]["requests"][0]["count"], 1);
        assert_eq!(show(&NESTED.validate(&nested)), "");
        assert_eq!(show(&FLAT.validate(&flat)), "");
        FLAT.to_storage(&mut flat);
        assert_eq!(flat, nested);
    }

    #[test]
    fn faults_and_state() {
        let bad = json!({"spec": {"devices": {"requests": [{"name": "a"}], "constraints": [{"requests": ["b"], "matchAttribute": "x"}]}}});
        assert_eq!(
            show(&NESTED.validate(&bad)),
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required\n\
             spec.devices.constraints[0].requests[0]: Invalid value: \"b\": must be the name of a request in the claim\n\
             spec.devices.constraints[0].matchAttribute: Invalid value: \"x\": must include a domain"
        );
        let reserved =
            json!({"status": {"reservedFor": [{"resource": "pods", "name": "p", "uid": "1"}]}});
        assert_eq!(
            show(&NESTED.validate_status_update(&reserved, &json!({}))),
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"
        );
        assert_eq!(state(&reserved), "pending");
        assert_eq!(
            state(&json!({"status": {"allocation": {}, "reservedFor": [1]}})),
            "allocated,reserved"
        );
    }
}
