//! `v1 Endpoints`: the addresses behind a Service, in the old form.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, network, row, service, tree};
use crate::name;
use crate::resource::{Cell, Column, Names, Resource, Strategy};

struct Endpoints;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["ep"]),
        columns: vec![
            Column::new("Endpoints", Cell::Compute(|o, _| addresses(o).into())),
            cells::age(),
        ],
        create_on_update: true,
        ..row("", "v1", "Endpoints", "endpoints", &Endpoints)
    }]
}

fn with_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn addresses(object: &Value) -> String {
    let subsets = tree::list(object, "/subsets");
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let ips = tree::list(subset, "/addresses").iter().map(|a| tree::text(a, "/ip"));
        let ports = tree::list(subset, "/ports");
        if ports.is_empty() {
            all.extend(ips.clone().map(str::to_owned));
        }
        for port in ports {
            let number = tree::count(port, "/port");
            all.extend(ips.clone().map(|ip| with_port(ip, number)));
        }
    }
    cells::some(&all)
}

fn subset(at: &At<'_>, faults: &mut Faults) {
    if at.get("addresses").len() + at.get("notReadyAddresses").len() == 0 {
        faults.required(at, "must specify `addresses` or `notReadyAddresses`");
    }
    for list in ["addresses", "notReadyAddresses"] {
        for address in at.get(list).items() {
            network::ip(&address.get("ip"), faults);
            service::endpoint_address(&address.get("ip"), faults);
            if !address.get("hostname").is_zero() {
                faults.rule(&address.get("hostname"), name::label);
            }
            if address.get("nodeName").is_set() {
                faults.rule(&address.get("nodeName"), name::subdomain);
            }
        }
    }
    let is_name_needed = at.get("ports").len() > 1;
    for port in at.get("ports").items() {
        let port_name = port.get("name");
        if !port_name.is_zero() {
            faults.rule(&port_name, name::label);
        } else if is_name_needed {
            faults.required(&port_name, "");
        }
        faults.port(&port.get("port"));
        faults.one_of(&port.get("protocol"), &["SCTP", "TCP", "UDP"]);
        if port.get("appProtocol").is_set() {
            faults.qualified(&port.get("appProtocol"));
        }
    }
}

impl Strategy for Endpoints {
    fn default(&self, object: &mut Value) {
        tree::each(object, "subsets", |subset| {
            tree::each(subset, "ports", |port| tree::fill_zero(port, "protocol", "TCP"));
        });
    }

    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        vec![
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
                .to_owned(),
        ]
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        for at in At::root(object).get("subsets").items() {
            subset(&at, &mut faults);
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
    fn defaults_faults_and_columns() {
        let mut object = json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
            "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}]});
        Endpoints.default(&mut object);
        assert_eq!(object["subsets"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(show(&Endpoints.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z")[0],
            "10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more..."
        );
        object["subsets"][0]["addresses"][0]["ip"] = json!("127.0.0.1");
        object["subsets"][0]["ports"][1] = json!({"port": 0, "protocol": "TCP"});
        assert_eq!(
            show(&Endpoints.validate(&object)),
            "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)\n\
             subsets[0].ports[1].name: Required value\n\
             subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive"
        );
    }
}
