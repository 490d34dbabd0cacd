//! Whether a pod that was bound to this node can really run here.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::status::{Cause, PendingResize, Verdict};
use crate::sysctl::{self, KernelVersion};
use crate::{pod, quantity, resources};

/// The node as far as admission goes.
#[derive(Clone, Debug, Default)]
pub struct NodeState {
    /// The node with its labels and taints.
    pub node: Node,
    /// What it can give to pods.
    pub allocatable: BTreeMap<String, Quantity>,
    /// Its kernel.
    pub kernel: KernelVersion,
}

/// Why a pod is not let in, as its event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `OutOfcpu`, `NodeAffinity` …
    pub reason: String,
    /// Details for a person.
    pub message: String,
}

impl From<Refusal> for Verdict {
    /// As the pod's status says it.
    fn from(refusal: Refusal) -> Self {
        Self {
            cause: Cause::Admission,
            reason: refusal.reason,
            message: format!("Pod was rejected: {}", refusal.message),
        }
    }
}

/// Refuses with a reason what does not fit beside `others`, the pods that run here already.
///
/// # Errors
/// Why the pod ends before it began.
pub fn admit<'a>(
    pod: &Pod,
    state: &NodeState,
    mut others: impl Iterator<Item = &'a Pod> + Clone,
) -> Result<(), Refusal> {
    sysctl::check(pod, state.kernel)?;
    check_resources(pod, state, &others)?;
    if !matches_node(pod, &state.node) {
        return Err(failed("NodeAffinity"));
    }
    if !tolerates(pod, &state.node) {
        return Err(failed("TaintToleration"));
    }
    if others.any(|other| ports_collide(pod, other)) {
        return Err(failed("NodePorts"));
    }
    check_os(pod)
}

/// Whether the changed resources of a running pod fit beside `others`, the pods that run here too.
///
/// # Errors
/// Why the change has to wait.
pub fn admit_resize<'a>(
    pod: &Pod,
    state: &NodeState,
    others: impl Iterator<Item = &'a Pod> + Clone,
) -> Result<(), PendingResize> {
    let pending = |reason: &'static str| {
        move |refusal: Refusal| PendingResize { reason, message: refusal.message }
    };
    check_resources(pod, state, &std::iter::empty()).map_err(pending("Infeasible"))?;
    check_resources(pod, state, &others).map_err(pending("Deferred"))
}

fn failed(predicate: &str) -> Refusal {
    Refusal { reason: predicate.to_owned(), message: format!("Predicate {predicate} failed") }
}

fn check_os(pod: &Pod) -> Result<(), Refusal> {
    match &pod::spec(pod).os {
        Some(os) if os.name != "linux" => Err(Refusal {
            reason: "PodOSNotSupported".to_owned(),
            message: "Failed to admit pod as the OS field doesn't match node OS".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn check_resources<'a>(
    pod: &Pod,
    state: &NodeState,
    others: &(impl Iterator<Item = &'a Pod> + Clone),
) -> Result<(), Refusal> {
    let shortage = |resource: &str, requested: i64, used: i64, capacity: i64| Refusal {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, \
             capacity: {capacity}"
        ),
    };
    let count = i64::try_from(others.clone().count()).unwrap_or(i64::MAX);
    if let Some(limit) = state.allocatable.get("pods").map(quantity::value)
        && count + 1 > limit
    {
        return Err(shortage("pods", 1, count, limit));
    }
    for (resource, amount) in &state.allocatable {
        if resource == "pods" {
            continue;
        }
        let requested = resources::pod_request(pod, resource);
        if requested == 0 {
            continue;
        }
        let used = others.clone().map(|other| resources::pod_request(other, resource)).sum();
        let is_cpu = resource == "cpu";
        let capacity = if is_cpu { quantity::milli(amount) } else { quantity::value(amount) };
        if requested.saturating_add(used) > capacity {
            return Err(shortage(resource, requested, used, capacity));
        }
    }
    Ok(())
}

fn host_ports(pod: &Pod) -> Vec<(i32, String, String)> {
    let ports = pod::spec(pod).containers.iter().flat_map(|it| it.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            Some((number, protocol, port.host_ip.clone().unwrap_or_default()))
        })
        .collect()
}

fn ports_collide(left: &Pod, right: &Pod) -> bool {
    let any = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
    let theirs = host_ports(right);
    host_ports(left).iter().any(|(port, protocol, ip)| {
        theirs.iter().any(|(their_port, their_protocol, their_ip)| {
            port == their_port
                && protocol == their_protocol
                && (any(ip) || any(their_ip) || ip == their_ip)
        })
    })
}

fn matches_node(pod: &Pod, node: &Node) -> bool {
    let spec = pod::spec(pod);
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let selected =
        spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required =
        spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref()).and_then(
            |affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref(),
        );
    selected
        && required.is_none_or(|required| {
            required.node_selector_terms.iter().any(|term| matches_term(term, node, labels))
        })
}

fn matches_term(term: &NodeSelectorTerm, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let name = node.metadata.name.clone().unwrap_or_default();
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|it| matches_requirement(it, labels.get(&it.key)))
        && fields.iter().all(|it| matches_requirement(it, Some(&name)))
}

fn matches_requirement(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.contains(value));
    let compared = || {
        let value: i64 = value?.parse().ok()?;
        let bound: i64 = values.first()?.parse().ok()?;
        Some(value.cmp(&bound))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared() == Some(std::cmp::Ordering::Greater),
        "Lt" => compared() == Some(std::cmp::Ordering::Less),
        _ => false,
    }
}

fn tolerates(pod: &Pod, node: &Node) -> bool {
    if pod::is_static(pod) {
        return true;
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    let tolerations = pod::spec(pod).tolerations.as_deref().unwrap_or_default();
    taints.filter(|taint| taint.effect == "NoExecute").all(|taint| {
        let value = taint.value.as_deref().unwrap_or_default();
        tolerations.iter().any(|it| tolerates_taint(it, &taint.key, value, &taint.effect))
    })
}

fn tolerates_taint(toleration: &Toleration, key: &str, value: &str, effect: &str) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (own_key, own_effect) = (text(&toleration.key), text(&toleration.effect));
    let exists = toleration.operator.as_deref() == Some("Exists");
    (own_effect.is_empty() || own_effect == effect)
        && (own_key == key || (own_key.is_empty() && exists))
        && (exists || text(&toleration.value) == value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn verdict(spec: Value, others: &[Value]) -> String {
        let state = NodeState {
            node: serde_json::from_value(json!({
                "metadata": {"name": "n", "labels": {"zone": "a", "n": "5"}},
                "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}}))
            .unwrap(),
            allocatable: serde_json::from_value(json!({"cpu": "2", "memory": "1Gi", "pods": "2"}))
                .unwrap(),
            kernel: KernelVersion::of_release("6.1"),
        };
        let mut spec = spec;
        if spec.get("tolerations").is_none() {
            spec["tolerations"] = json!([{"operator": "Exists"}]);
        }
        let others: Vec<Pod> = others.iter().cloned().map(crate::testing::pod).collect();
        match admit(&crate::testing::pod(spec), &state, others.iter()) {
            Ok(()) => String::new(),
            Err(refusal) => format!("{}: {}", refusal.reason, refusal.message),
        }
    }

    #[test]
    fn verdicts() {
        let cpu = |cpu: &str| json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]});
        let port =
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1, "hostPort": 80}]}]});
        assert_eq!(verdict(cpu("1"), &[cpu("1")]), "");
        assert_eq!(
            verdict(cpu("1500m"), &[cpu("1")]),
            "OutOfcpu: Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"
        );
        assert!(verdict(cpu("1"), &[cpu("0"), cpu("0")]).starts_with("OutOfpods: "));
        assert!(verdict(port.clone(), &[port]).starts_with("NodePorts: "));
        let plain = |key: &str, value: Value| {
            let mut spec = json!({"containers": []});
            spec[key] = value;
            spec
        };
        assert_eq!(verdict(plain("nodeSelector", json!({"zone": "a"})), &[]), "");
        assert!(
            verdict(plain("nodeSelector", json!({"zone": "b"})), &[]).starts_with("NodeAffinity")
        );
        let gt = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "n", "operator": "Gt", "values": ["5"]}]}]}}});
        assert!(verdict(plain("affinity", gt), &[]).starts_with("NodeAffinity"));
        assert!(verdict(plain("tolerations", json!([])), &[]).starts_with("TaintToleration"));
        let own = json!([{"key": "k", "value": "v", "effect": "NoExecute"}]);
        assert_eq!(verdict(plain("tolerations", own), &[]), "");
        let unsafe_one = json!({"sysctls": [{"name": "kernel.sem", "value": "1"}]});
        let spec = plain("securityContext", unsafe_one);
        assert!(verdict(spec, &[]).starts_with("SysctlForbidden: "));
        assert!(
            verdict(plain("os", json!({"name": "windows"})), &[]).starts_with("PodOSNotSupported")
        );
    }
}
