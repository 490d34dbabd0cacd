//! What `kubectl get services` shows.

use serde_json::Value;

use super::is_type;
use crate::kinds::{cells, tree};
use crate::resource::{Cell, Column};

/// Longest text of load balancer addresses.
const BALANCER_WIDTH: usize = 16;

/// The columns after `Name`.
pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::new("Type", Cell::Pointer("/spec/type")),
        Column::new(
            "Cluster-IP",
            Cell::Compute(|o, _| cells::or_none(tree::text(o, "/spec/clusterIPs/0")).into()),
        ),
        Column::new("External-IP", Cell::Compute(|o, _| external_ip(o).into())),
        Column::new("Port(s)", Cell::Compute(|o, _| ports(o).into())),
        cells::age(),
        Column::wide("Selector", Cell::Compute(|o, _| cells::labels(o, "/spec/selector").into())),
    ]
}

/// Addresses or names of a load balancer, sorted, cut to a width.
pub(in crate::kinds) fn balancer(object: &Value) -> String {
    let mut all: Vec<&str> = tree::list(object, "/status/loadBalancer/ingress")
        .iter()
        .map(|ingress| {
            let ip = tree::text(ingress, "/ip");
            if ip.is_empty() { tree::text(ingress, "/hostname") } else { ip }
        })
        .filter(|text| !text.is_empty())
        .collect();
    all.sort_unstable();
    all.dedup();
    let joined = all.join(",");
    match joined.get(..BALANCER_WIDTH - 3) {
        Some(head) if joined.len() > BALANCER_WIDTH => format!("{head}..."),
        _ => joined,
    }
}

fn external_ip(service: &Value) -> String {
    let fixed = tree::texts(service, "/spec/externalIPs").join(",");
    if is_type(service, "ExternalName") {
        return tree::text(service, "/spec/externalName").to_owned();
    }
    if !is_type(service, "LoadBalancer") {
        return cells::or_none(&fixed);
    }
    let balanced = balancer(service);
    match (balanced.is_empty(), fixed.is_empty()) {
        (true, true) => "<pending>".to_owned(),
        (false, false) => format!("{balanced},{fixed}"),
        _ => balanced + &fixed,
    }
}

fn ports(service: &Value) -> String {
    let all: Vec<String> = tree::list(service, "/spec/ports")
        .iter()
        .map(|port| {
            let (number, protocol) = (tree::count(port, "/port"), tree::text(port, "/protocol"));
            match tree::count(port, "/nodePort") {
                0 => format!("{number}/{protocol}"),
                node_port => format!("{number}:{node_port}/{protocol}"),
            }
        })
        .collect();
    cells::or_none(&all.join(","))
}
