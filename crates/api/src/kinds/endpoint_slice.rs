//! `discovery.k8s.io/v1 EndpointSlice`: some of the addresses behind a Service.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, network, row, service, tree};
use crate::name;
use crate::resource::{Cell, Column, Resource, Strategy};

struct EndpointSlice;

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const ZONES_MAX: usize = 8;
const TOPOLOGY_LABELS_MAX: usize = 16;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        columns: vec![
            Column::new("AddressType", Cell::Pointer("/addressType")),
            Column::new("Ports", Cell::Compute(|o, _| ports(o).into())),
            Column::new("Endpoints", Cell::Compute(|o, _| endpoints(o).into())),
            cells::age(),
        ],
        has_generation: true,
        ..row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", &EndpointSlice)
    }]
}

fn or_unset(text: String) -> String {
    if text.is_empty() { "<unset>".to_owned() } else { text }
}

fn ports(object: &Value) -> String {
    let all: Vec<String> = tree::list(object, "/ports")
        .iter()
        .map(|port| match (tree::int(port, "/port"), tree::at(port, "/name")) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => name.as_str().unwrap_or_default().to_owned(),
            (None, None) => "*".to_owned(),
        })
        .collect();
    or_unset(cells::some(&all))
}

fn endpoints(object: &Value) -> String {
    let all: Vec<String> = tree::list(object, "/endpoints")
        .iter()
        .flat_map(|endpoint| tree::texts(endpoint, "/addresses"))
        .map(str::to_owned)
        .collect();
    or_unset(cells::some(&all))
}

fn address(at: &At<'_>, kind: &str, faults: &mut Faults) {
    let parsed = network::parse_ip(at.text());
    match kind {
        "IPv4" | "IPv6" => {
            if parsed.is_none_or(|ip| ip.is_ipv4() != (kind == "IPv4")) {
                faults.invalid(at, format!("must be a valid {kind} address"));
            }
            service::endpoint_address(at, faults);
        }
        "FQDN" => fully_qualified(at, faults),
        _ => {}
    }
}

fn fully_qualified(at: &At<'_>, faults: &mut Faults) {
    let host = at.text().strip_suffix('.').unwrap_or_else(|| at.text());
    if host.is_empty() {
        faults.required(at, "");
    } else if let Err(fault) = name::subdomain(host) {
        faults.invalid_as(at, host, fault);
    } else if !host.contains('.') {
        faults.invalid_as(
            at,
            host,
            "should be a domain with at least two segments separated by dots",
        );
    }
}

fn endpoint(at: &At<'_>, kind: &str, faults: &mut Faults) {
    let addresses = at.get("addresses");
    if addresses.len() == 0 {
        faults.required(&addresses, "must contain at least 1 address");
    }
    faults.at_most(&addresses, ADDRESSES_MAX);
    for place in addresses.items() {
        address(&place, kind, faults);
    }
    if at.get("nodeName").is_set() {
        faults.rule(&at.get("nodeName"), name::subdomain);
    }
    faults.at_most(&at.get("deprecatedTopology"), TOPOLOGY_LABELS_MAX);
    faults.labels(&at.get("deprecatedTopology"));
    if at.get("hostname").is_set() {
        faults.rule(&at.get("hostname"), name::label);
    }
    for (list, rule) in
        [("forZones", name::label_value as fn(&str) -> _), ("forNodes", name::subdomain)]
    {
        let list = at.get2("hints", list);
        faults.at_most(&list, ZONES_MAX);
        let mut seen = BTreeSet::new();
        for target in list.items() {
            faults.unique(&target.get("name"), &mut seen);
            faults.rule(&target.get("name"), rule);
        }
    }
}

fn port(at: &At<'_>, faults: &mut Faults) {
    if !at.get("name").is_zero() {
        faults.rule(&at.get("name"), name::label);
    }
    let protocol = at.get("protocol");
    if !protocol.is_set() {
        faults.required(&protocol, "");
    }
    faults.optional_one_of(&protocol, &["SCTP", "TCP", "UDP"]);
    if at.get("appProtocol").is_set() {
        faults.qualified(&at.get("appProtocol"));
    }
}

impl Strategy for EndpointSlice {
    fn default(&self, object: &mut Value) {
        tree::fill(object, "endpoints", json!([]));
        tree::each(object, "ports", |port| {
            tree::fill(port, "name", "");
            tree::fill(port, "protocol", "TCP");
        });
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let mut faults = Faults::default();
        faults.one_of(&at.get("addressType"), &["FQDN", "IPv4", "IPv6"]);
        let (endpoints, ports) = (at.get("endpoints"), at.get("ports"));
        faults.at_most(&endpoints, ENDPOINTS_MAX);
        if endpoints.len() <= ENDPOINTS_MAX {
            for place in endpoints.items() {
                endpoint(&place, at.get("addressType").text(), &mut faults);
            }
        }
        faults.at_most(&ports, PORTS_MAX);
        let mut names = BTreeSet::new();
        for place in ports.items().take(PORTS_MAX) {
            port(&place, &mut faults);
            if !names.insert(place.get("name").text()) {
                faults.duplicate(&place.get("name"));
            }
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        faults.immutable(&At::root(new).get("addressType"), &At::root(old).get("addressType"));
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn defaults_faults_and_columns() {
        let mut old = json!({"addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"]}]});
        EndpointSlice.default(&mut old);
        assert_eq!(old["ports"], json!([{"port": 80, "name": "", "protocol": "TCP"}]));
        assert_eq!(show(&EndpointSlice.validate(&old)), "");
        assert_eq!(
            cells::show(&rows()[0], &old, "2026-01-01T00:00:00Z"),
            ["IPv4", "80", "10.0.0.1", "<unknown>"]
        );
        let mut new = old.clone();
        new["addressType"] = json!("IPv6");
        new["endpoints"][0]["addresses"] = json!([]);
        assert_eq!(
            show(&EndpointSlice.validate_update(&new, &old)),
            "endpoints[0].addresses: Required value: must contain at least 1 address\n\
             addressType: Invalid value: \"IPv6\": field is immutable"
        );
    }
}
