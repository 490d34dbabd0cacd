//! What is likely a mistake in a pod's spec, but no fault: shown to the user as `Warning` headers.

use std::collections::{BTreeMap, BTreeSet};

use super::super::amounts;
use super::super::check::At;

/// Labels of nodes that have newer names.
const OLD_NODE_LABELS: [(&str, &str); 7] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// Volume sources that are gone or going.
const OLD_VOLUMES: [(&str, &str); 8] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warnings for a spec, in a Pod or a template.
pub(in super::super) fn of_spec(spec: &At<'_>, warnings: &mut Vec<String>) {
    for (key, at) in spec.get("nodeSelector").entries() {
        if let Some((_, text)) = OLD_NODE_LABELS.iter().find(|(label, _)| *label == key) {
            warnings.push(format!("{}: {text}", at.path));
        }
    }
    null_selectors(spec.get("topologySpreadConstraints").items(), warnings);
    for kind in ["podAffinity", "podAntiAffinity"] {
        let terms = spec.get2("affinity", kind);
        let preferred = terms.get("preferredDuringSchedulingIgnoredDuringExecution");
        null_selectors(
            terms.get("requiredDuringSchedulingIgnoredDuringExecution").items(),
            warnings,
        );
        null_selectors(preferred.items().map(|it| it.get("podAffinityTerm")), warnings);
    }
    for volume in spec.get("volumes").items() {
        let says_nothing = |source: &At<'_>| source.len() == 0;
        for _empty in volume.get2("projected", "sources").items().filter(says_nothing) {
            let own_name = volume.get("name").text();
            warnings.push(format!("volume \"{own_name}\" (Projected) has no sources provided"));
        }
        for (source, text) in OLD_VOLUMES {
            if volume.get(source).is_set() {
                warnings.push(format!("{}: {text}", volume.get(source).path));
            }
        }
    }
    duplicates(spec, warnings);
    fractional_bytes(&spec.get("overhead"), warnings);
    let mut ports = BTreeMap::new();
    for list in ["initContainers", "containers"] {
        for container in spec.get(list).items() {
            for which in ["limits", "requests"] {
                fractional_bytes(&container.get2("resources", which), warnings);
            }
            environment(&container.get("env"), warnings);
            container_ports(&container.get("ports"), &mut ports, warnings);
        }
    }
    let grace = spec.get("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds < 0) {
        warnings.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            grace.path
        ));
    }
}

/// Terms that select no pod.
fn null_selectors<'a>(terms: impl Iterator<Item = At<'a>>, warnings: &mut Vec<String>) {
    let selectors = terms.map(|term| term.get("labelSelector"));
    for selector in selectors.filter(|selector| !selector.is_set()) {
        let text = "a null labelSelector results in matching no pod";
        warnings.push(format!("{}: {text}", selector.path));
    }
}

fn duplicates(spec: &At<'_>, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for alias in spec.get("hostAliases").items() {
        let ip = alias.get("ip");
        if !seen.insert(ip.text()) {
            warnings.push(format!("{}: duplicate ip \"{}\"", ip.path, ip.text()));
        }
    }
    let mut seen = BTreeSet::new();
    for secret in spec.get("imagePullSecrets").items() {
        let own_name = secret.get("name");
        if own_name.is_zero() {
            warnings.push(format!("{}: invalid empty name \"\"", own_name.path));
        } else if !seen.insert(own_name.text()) {
            warnings.push(format!("{}: duplicate name \"{}\"", own_name.path, own_name.text()));
        }
    }
}

fn fractional_bytes(list: &At<'_>, warnings: &mut Vec<String>) {
    for (resource, amount) in list.entries() {
        let is_size = matches!(resource, "memory" | "ephemeral-storage");
        let Some(quantity) = amounts::read(&amount).filter(|q| is_size && !q.is_whole()) else {
            continue;
        };
        warnings.push(format!(
            "{}: fractional byte value \"{quantity}\" is invalid, must be an integer",
            amount.path
        ));
    }
}

/// Variables that are there twice, unless the later one builds on the earlier.
fn environment(at: &At<'_>, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for variable in at.items() {
        let (own_name, value) = (variable.get("name").text(), variable.get("value").text());
        if seen.insert(own_name) {
            continue;
        }
        let reference = format!("$({own_name})");
        let builds_on =
            value.contains(&reference) && value != reference && !variable.get("valueFrom").is_set();
        if !builds_on {
            warnings.push(format!(
                "{}: hides previous definition of \"{own_name}\", which may be dropped when using apply",
                variable.path
            ));
        }
    }
}

type Ports<'a> = BTreeMap<(i64, &'a str), Vec<At<'a>>>;

fn container_ports<'a>(list: &At<'a>, seen: &mut Ports<'a>, warnings: &mut Vec<String>) {
    for port in list.items() {
        if !port.get("hostIP").is_zero() && port.get("hostPort").is_zero() {
            warnings.push(host_ip_alone(&port));
        }
        let number = port.get("containerPort").int().unwrap_or_default();
        let others = seen.entry((number, port.get("protocol").text())).or_default();
        for other in others.iter() {
            if let Some(how) = port_clash(&port, other) {
                warnings.push(format!("{}: {how} port definition with {}", port.path, other.path));
            }
        }
        others.push(port);
    }
}

/// An address of the node without a port there does nothing. Upstream shows the port as Go prints it.
fn host_ip_alone(port: &At<'_>) -> String {
    let text = |field: &str| port.get(field).text();
    format!(
        "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{}}}",
        port.path,
        text("name"),
        port.get("containerPort").int().unwrap_or_default(),
        text("protocol"),
        text("hostIP"),
    )
}

/// How two ports with the same number and protocol get into each other's way.
fn port_clash(one: &At<'_>, other: &At<'_>) -> Option<&'static str> {
    let host = |at: &At<'_>| at.get("hostPort").int().unwrap_or_default();
    let (ip, other_ip) = (one.get("hostIP"), other.get("hostIP"));
    if host(one) == host(other) && ip.text() == other_ip.text() {
        Some("duplicate")
    } else if host(one) == 0 || host(other) == 0 {
        Some("overlapping")
    } else if host(one) == host(other) && ip.is_zero() != other_ip.is_zero() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn warnings_read_as_upstreams() {
        let spec = json!({
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "volumes": [{"name": "v", "rbd": {}}],
            "imagePullSecrets": [{"name": "a"}, {"name": "a"}],
            "containers": [{"resources": {"limits": {"memory": "1500m"}},
                "env": [{"name": "P", "value": "a"}, {"name": "P", "value": "$(P):b"}, {"name": "P", "value": "c"}],
                "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"},
                    {"containerPort": 80, "protocol": "TCP", "hostPort": 1}]}]});
        let mut warnings = Vec::new();
        of_spec(&At::root(&json!({"spec": spec})).get("spec"), &mut warnings);
        assert_eq!(
            warnings,
            [
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
                "spec.imagePullSecrets[1].name: duplicate name \"a\"",
                "spec.containers[0].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
                "spec.containers[0].env[2]: hides previous definition of \"P\", which may be dropped when using apply",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[0]",
                "spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[1]",
            ]
        );
    }
}
