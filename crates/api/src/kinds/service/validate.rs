//! Checks of a Service and its status.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{is_external, is_headless, is_type, needs_health_check};
use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::network;
use crate::meta;
use crate::name;

/// Where the kubelet serves: load balancers may not take it away.
const KUBELET_PORT: i64 = 10_250;
/// A day, in seconds.
const AFFINITY_SECONDS_MAX: i64 = 86_400;
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const SOURCE_RANGES_ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";

/// Faults of a Service, whose addresses and ports may yet have to be allocated.
pub(super) fn service(object: &Value) -> Vec<Error> {
    let spec = At::root(object).get("spec");
    let mut faults = Faults::default();
    if spec.get("ports").len() == 0 && !is_headless(object) && !is_type(object, "ExternalName") {
        faults.required(&spec.get("ports"), "");
    }
    of_type(object, &spec, &mut faults);
    let mut names = BTreeSet::new();
    let is_many = spec.get("ports").len() > 1;
    for port in spec.get("ports").items() {
        service_port(&port, is_many, &mut names, &mut faults);
    }
    faults.labels(&spec.get("selector"));
    affinity(&spec, &mut faults);
    addresses(object, &spec, &mut faults);
    for ip in spec.get("externalIPs").items() {
        match network::parse_ip(ip.text()) {
            Some(address) => not_special(&ip, address, &mut faults),
            None => faults.invalid(&ip, network::IP_TEXT),
        }
    }
    faults.one_of(&spec.get("type"), &TYPES);
    ports_together(object, &spec, &mut faults);
    source_ranges(object, &spec, &mut faults);
    balancing(object, &spec, &mut faults);
    traffic(object, &spec, &mut faults);
    faults.0
}

fn of_type(object: &Value, spec: &At<'_>, faults: &mut Faults) {
    let kind = spec.get("type").text();
    if kind == "LoadBalancer" {
        for port in spec.get("ports").items() {
            if port.get("port").int() == Some(KUBELET_PORT) {
                let text = format!(
                    "may not expose port {KUBELET_PORT} externally since it is used by kubelet"
                );
                faults.invalid_as(&port, KUBELET_PORT, text);
            }
        }
    }
    if matches!(kind, "LoadBalancer" | "NodePort") && is_headless(object) {
        let at = At { value: spec.value, path: spec.get("clusterIPs").path.index(0) };
        faults.invalid_as(&at, "None", format!("may not be set to 'None' for {kind} services"));
    }
    if kind != "ExternalName" {
        return;
    }
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !spec.get(field).is_zero() {
            faults.forbidden(&spec.get(field), "may not be set for ExternalName services");
        }
    }
    let external = spec.get("externalName");
    let host = external.text().strip_suffix('.').unwrap_or_else(|| external.text());
    if host.is_empty() {
        faults.required(&external, "");
    } else if let Err(fault) = name::subdomain(host) {
        faults.invalid_as(&external, host, fault);
    }
}

fn service_port<'a>(
    port: &At<'a>,
    is_name_needed: bool,
    names: &mut BTreeSet<&'a str>,
    faults: &mut Faults,
) {
    let port_name = port.get("name");
    if !port_name.text().is_empty() {
        faults.rule(&port_name, name::label);
        faults.unique(&port_name, names);
    } else if is_name_needed {
        faults.required(&port_name, "");
    }
    faults.port(&port.get("port"));
    faults.one_of(&port.get("protocol"), &PROTOCOLS);
    faults.port_number_or_name(&port.get("targetPort"));
    if port.get("appProtocol").is_set() {
        faults.qualified(&port.get("appProtocol"));
    }
}

fn affinity(spec: &At<'_>, faults: &mut Faults) {
    let (kind, config) = (spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"));
    faults.one_of(&kind, &["ClientIP", "None"]);
    if kind.text() == "None" && config.is_set() {
        faults.forbidden(&config, "must not be set when session affinity is None");
    }
    if kind.text() != "ClientIP" {
        return;
    }
    let client = config.get("clientIP");
    let seconds = client.get("timeoutSeconds");
    for part in [&config, &client, &seconds] {
        if !part.is_set() {
            faults.required(part, "when session affinity type is ClientIP");
            return;
        }
    }
    if !seconds.int().is_some_and(|seconds| (1..=AFFINITY_SECONDS_MAX).contains(&seconds)) {
        faults.invalid(
            &seconds,
            format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}"),
        );
    }
}

fn addresses(object: &Value, spec: &At<'_>, faults: &mut Faults) {
    if is_type(object, "ExternalName") {
        return;
    }
    families(spec, faults);
    let all = spec.get("clusterIPs");
    let one = spec.get("clusterIP");
    if !one.text().is_empty() && all.len() == 0 {
        faults.required(&all, "");
    } else if one.text().is_empty() && all.len() > 0 {
        faults.invalid(&all, "must be empty when `clusterIP` is not specified");
    } else if all.items().next().is_some_and(|first| first.text() != one.text()) {
        faults.invalid(&all, "first value must match `clusterIP`");
    }
    let mut versions = Vec::new();
    for ip in all.items() {
        match ip.text() {
            "None" if all.len() > 1 => {
                faults
                    .invalid(&ip, "must be set to 'None' for headless services as the only value");
            }
            "None" => {}
            text => match network::parse_ip(text) {
                Some(address) => versions.push(address.is_ipv4()),
                None => faults.invalid(&ip, network::IP_TEXT),
            },
        }
    }
    if all.len() > 2 {
        faults.invalid(&all, "may only hold up to 2 values");
    } else if versions.len() == 2 && versions[0] == versions[1] {
        faults.invalid(&all, "may specify no more than one IP for each IP family");
    }
    for (place, is_v4) in versions.iter().enumerate() {
        let family = spec.value.pointer(&format!("/ipFamilies/{place}")).and_then(Value::as_str);
        let expected = if *is_v4 { "IPv4" } else { "IPv6" };
        let is_family = |family: &str| matches!(family, "IPv4" | "IPv6");
        if family.is_some_and(|family| family != expected && is_family(family)) {
            let at = At { value: all.value, path: all.path.index(place) };
            let wanted = family.unwrap_or_default();
            faults.invalid_as(
                &at,
                spec.value["clusterIPs"][place].clone(),
                format!("expected an {wanted} value as indicated by `ipFamilies[{place}]`"),
            );
        }
    }
}

fn families(spec: &At<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for family in spec.get("ipFamilies").items() {
        faults.optional_one_of(&family, &["IPv4", "IPv6"]);
        faults.unique(&family, &mut seen);
    }
    faults.optional_one_of(
        &spec.get("ipFamilyPolicy"),
        &["PreferDualStack", "RequireDualStack", "SingleStack"],
    );
}

fn not_special(at: &At<'_>, address: IpAddr, faults: &mut Faults) {
    if address.is_unspecified() {
        faults.invalid(at, format!("may not be unspecified ({})", at.text()));
    }
    if address.is_loopback() {
        faults.invalid(at, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (is_link_local, is_link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if is_link_local {
        faults.invalid(at, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if is_link_local_multicast {
        faults
            .invalid(at, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// An address that endpoints may not have either.
pub(in crate::kinds) fn endpoint_address(at: &At<'_>, faults: &mut Faults) {
    match network::parse_ip(at.text()) {
        Some(address) => not_special(at, address, faults),
        None => faults.invalid_as(at, at.text(), "must be a valid IP address"),
    }
}

fn ports_together(object: &Value, spec: &At<'_>, faults: &mut Faults) {
    let (mut node_ports, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for port in spec.get("ports").items() {
        let protocol = port.get("protocol").text();
        let node_port = port.get("nodePort");
        let node_number = node_port.int().unwrap_or_default();
        if node_number != 0 && is_type(object, "ClusterIP") {
            faults.forbidden(&node_port, "may not be used when `type` is 'ClusterIP'");
        }
        if node_number != 0 && !node_ports.insert((protocol, node_number)) {
            faults.duplicate(&node_port);
        }
        let number = port.get("port").int().unwrap_or_default();
        if !ports.insert((protocol, number)) {
            let shown = json!({"protocol": protocol, "port": number});
            faults.duplicate(&At { value: &shown, path: port.path.clone() });
        }
    }
}

fn source_ranges(object: &Value, spec: &At<'_>, faults: &mut Faults) {
    let ranges = spec.get("loadBalancerSourceRanges");
    let is_balanced = is_type(object, "LoadBalancer");
    // Upstream's path has the capital letter of its Go field.
    let at = spec.named("LoadBalancerSourceRanges");
    if ranges.len() > 0 {
        if !is_balanced {
            faults.forbidden(&at, ONLY_BALANCED);
        }
        for (index, range) in ranges.items().enumerate() {
            let place = At { value: range.value, path: at.path.index(index) };
            network::cidr(&place, range.text().trim(), faults);
        }
    } else if let Some(text) = meta::annotation(object, SOURCE_RANGES_ANNOTATION) {
        let annotations = At::root(object).get2("metadata", "annotations");
        let place =
            At { value: annotations.value, path: annotations.path.key(SOURCE_RANGES_ANNOTATION) };
        if !is_balanced {
            faults.forbidden(&place, ONLY_BALANCED);
        }
        for range in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            network::cidr(&place, range, faults);
        }
    }
}

fn balancing(object: &Value, spec: &At<'_>, faults: &mut Faults) {
    let is_balanced = is_type(object, "LoadBalancer");
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    if allocate.is_set() && !is_balanced {
        faults.forbidden(&allocate, ONLY_BALANCED);
    }
    let class = spec.get("loadBalancerClass");
    if class.is_set() {
        if is_balanced {
            faults.qualified(&class);
        } else {
            faults.forbidden(&class, ONLY_BALANCED);
        }
    }
}

fn traffic(object: &Value, spec: &At<'_>, faults: &mut Faults) {
    let external = spec.get("externalTrafficPolicy");
    if is_external(object) {
        faults.one_of(&external, &["Cluster", "Local"]);
    } else if !external.is_zero() {
        faults.invalid(&external, "may only be set for externally-accessible services");
    }
    let check = spec.get("healthCheckNodePort");
    if !needs_health_check(object) {
        if !check.is_zero() {
            faults.invalid(
                &check,
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            );
        }
    } else if !check.is_zero() {
        faults.port(&check);
    }
    let internal = spec.get("internalTrafficPolicy");
    let is_inside = ["ClusterIP", "NodePort", "LoadBalancer"].iter().any(|it| is_type(object, it));
    if !internal.is_set() && is_inside {
        faults.required(&internal, "");
    }
    faults.optional_one_of(&internal, &["Cluster", "Local"]);
    faults.optional_one_of(
        &spec.get("trafficDistribution"),
        &["PreferClose", "PreferSameNode", "PreferSameZone"],
    );
}

/// Faults of a changed status.
pub(super) fn status(object: &Value) -> Vec<Error> {
    let at = At::root(object).get2("status", "loadBalancer").get("ingress");
    let mut faults = Faults::default();
    if !is_type(object, "LoadBalancer") && at.len() > 0 {
        faults.forbidden(&at, "may only be used when `spec.type` is 'LoadBalancer'");
        return faults.0;
    }
    for ingress in at.items() {
        balancer_ingress(&ingress, &mut faults);
    }
    faults.0
}

fn balancer_ingress(at: &At<'_>, faults: &mut Faults) {
    let (ip, mode, host) = (at.get("ip"), at.get("ipMode"), at.get("hostname"));
    if !ip.is_zero() && network::parse_ip(ip.text()).is_none() {
        faults.invalid(&ip, network::IP_TEXT);
    }
    if !ip.is_zero() && !mode.is_set() {
        faults.required(&mode, "must be specified when `ip` is set");
    } else if ip.is_zero() && mode.is_set() {
        faults.forbidden(&mode, "may not be specified when `ip` is not set");
    } else {
        faults.optional_one_of(&mode, &["Proxy", "VIP"]);
    }
    if host.is_zero() {
        return;
    }
    faults.rule(&host, name::subdomain);
    if network::parse_ip(host.text()).is_some() {
        faults.invalid(&host, "must be a DNS name, not an IP address");
    }
}
