//! `networking.k8s.io IPAddress`: one allocated Service address; its name is the address.

use std::net::IpAddr;

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree};
use crate::meta;
use crate::name;
use crate::resource::{Cell, Column, NameRule, Names, Resource, Scope, Strategy};
use crate::status::qualified;

struct IpAddress;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let usual = |resource: Resource| Resource {
        short_names: Names::Static(&["ip"]),
        scope: Scope::Cluster,
        columns: vec![
            Column::new("ParentRef", Cell::Compute(|o, _| parent(o).into())),
            cells::age(),
        ],
        name_rule: NameRule::Own,
        ..resource
    };
    let of = |version| row("networking.k8s.io", version, "IPAddress", "ipaddresses", &IpAddress);
    let beta = of("v1beta1").stored_as("networking.k8s.io", "v1", "ipaddresses");
    vec![usual(of("v1")), Resource { off_by_default: true, ..usual(beta) }]
}

fn parent(object: &Value) -> String {
    let Some(parent) = tree::at(object, "/spec/parentRef") else { return "<none>".to_owned() };
    let text = |field: &str| tree::text(parent, field);
    let mut shown = qualified(text("/group"), text("/resource")).to_lowercase();
    for part in [text("/namespace"), text("/name")] {
        if !part.is_empty() {
            shown.push('/');
            shown.push_str(part);
        }
    }
    shown
}

fn own_name(object: &At<'_>, faults: &mut Faults) {
    let text = meta::name(object.value);
    let place = object.get2("metadata", "name");
    match text.parse::<IpAddr>() {
        Err(_) => {
            faults.invalid_as(&place, text, format!("ParseAddr(\"{text}\"): unable to parse IP"))
        }
        Ok(address) if address.to_string() != text => {
            faults.invalid_as(&place, text, "must be a canonical format IP address");
        }
        Ok(_) => {}
    }
}

impl Strategy for IpAddress {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let reference = at.get2("spec", "parentRef");
        let mut faults = Faults::default();
        own_name(&at, &mut faults);
        if !reference.is_set() {
            faults.required(&reference, "");
            return faults.0;
        }
        if !reference.get("group").is_zero() {
            faults.rule(&reference.get("group"), name::subdomain);
        }
        faults.required_rule(&reference.get("resource"), name::path_segment);
        faults.required_rule(&reference.get("name"), name::path_segment);
        if !reference.get("namespace").is_zero() {
            faults.rule(&reference.get("namespace"), name::path_segment);
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        let field = |object| At::root(object).get2("spec", "parentRef");
        faults.immutable(&field(new), &field(old));
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn the_name_is_an_address() {
        let object = json!({"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": {
            "resource": "services", "namespace": "n", "name": "s"}}});
        assert_eq!(show(&IpAddress.validate(&object)), "");
        assert_eq!(cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z")[0], "services/n/s");
        assert_eq!(
            show(&IpAddress.validate(&json!({"metadata": {"name": "2001:DB8::1"}}))),
            "metadata.name: Invalid value: \"2001:DB8::1\": must be a canonical format IP address\n\
             spec.parentRef: Required value"
        );
    }
}
