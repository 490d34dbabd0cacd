//! `networking.k8s.io/v1 NetworkPolicy`: who may talk to which pods.

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, network, row, tree};
use crate::resource::{Cell, Column, Names, Resource, Strategy};

struct NetworkPolicy;

const TYPES: [&str; 2] = ["Egress", "Ingress"];

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["netpol"]),
        columns: vec![
            Column::new(
                "Pod-Selector",
                Cell::Compute(|o, _| cells::selector(o, "/spec/podSelector").into()),
            ),
            cells::age(),
        ],
        has_generation: true,
        ..row("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", &NetworkPolicy)
    }]
}

fn port(at: &At<'_>, faults: &mut Faults) {
    faults.optional_one_of(&at.get("protocol"), &["SCTP", "TCP", "UDP"]);
    let (port, end) = (at.get("port"), at.get("endPort"));
    if port.is_set() {
        faults.port_number_or_name(&port);
    }
    let Some(last) = end.int() else { return };
    match port.int() {
        Some(first) => {
            if last < first {
                faults.invalid_as(&end, first, "must be greater than or equal to `port`");
            }
            faults.port(&end);
        }
        None if port.is_set() => {
            faults.invalid(&end, "may not be specified when `port` is non-numeric");
        }
        None => faults.invalid(&end, "may not be specified when `port` is not specified"),
    }
}

fn peer(at: &At<'_>, faults: &mut Faults) {
    faults.label_selector(&at.get("podSelector"));
    faults.label_selector(&at.get("namespaceSelector"));
    let block = at.get("ipBlock");
    if block.is_set() {
        ip_block(&block, faults);
    }
    let others =
        ["podSelector", "namespaceSelector"].iter().filter(|name| at.get(name).is_set()).count();
    if others == 0 && !block.is_set() {
        faults.required(at, "must specify a peer");
    } else if others > 0 && block.is_set() {
        faults.forbidden(at, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(at: &At<'_>, faults: &mut Faults) {
    let range = at.get("cidr");
    if range.is_zero() {
        faults.required(&range, "");
        return;
    }
    network::cidr(&range, range.text(), faults);
    let Some(whole) = network::parse_cidr(range.text()) else { return };
    for except in at.get("except").items() {
        network::cidr(&except, except.text(), faults);
        let Some(part) = network::parse_cidr(except.text()) else { continue };
        if !whole.contains(&part.addr()) || whole.prefix_len() >= part.prefix_len() {
            faults.invalid(&except, "must be a strict subset of `cidr`");
        }
    }
}

fn rules(spec: &At<'_>, list: &str, peers: &str, faults: &mut Faults) {
    for rule in spec.get(list).items() {
        for place in rule.get("ports").items() {
            port(&place, faults);
        }
        for place in rule.get(peers).items() {
            peer(&place, faults);
        }
    }
}

impl Strategy for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        tree::fill(spec, "podSelector", json!({}));
        for list in ["ingress", "egress"] {
            tree::each(spec, list, |rule| {
                tree::each(rule, "ports", |port| tree::fill(port, "protocol", "TCP"));
            });
        }
        let has_egress = !tree::list(spec, "/egress").is_empty();
        let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        tree::fill_zero(spec, "policyTypes", types);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let mut faults = Faults::default();
        faults.label_selector(&spec.get("podSelector"));
        rules(&spec, "ingress", "from", &mut faults);
        rules(&spec, "egress", "to", &mut faults);
        let types = spec.get("policyTypes");
        if types.len() > TYPES.len() {
            faults.invalid(&types, "may not specify more than two policyTypes");
            return faults.0;
        }
        for kind in types.items() {
            faults.optional_one_of(&kind, &TYPES);
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
        let mut object = json!({"spec": {"egress": [{"ports": [{"port": 53}]}]}});
        NetworkPolicy.default(&mut object);
        assert_eq!(
            object["spec"],
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
                "egress": [{"ports": [{"port": 53, "protocol": "TCP"}]}]})
        );
        assert_eq!(show(&NetworkPolicy.validate(&object)), "");
        assert_eq!(cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z")[0], "<none>");
        let bad = json!({"spec": {"policyTypes": ["X"], "ingress": [{"from": [{},
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}, "podSelector": {}}],
            "ports": [{"port": 5, "endPort": 4}]}]}});
        assert_eq!(
            show(&NetworkPolicy.validate(&bad)),
            "spec.ingress[0].ports[0].endPort: Invalid value: 5: must be greater than or equal to `port`\n\
             spec.ingress[0].from[0]: Required value: must specify a peer\n\
             spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`\n\
             spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer\n\
             spec.policyTypes[0]: Unsupported value: \"X\": supported values: \"Egress\", \"Ingress\""
        );
    }
}
