//! Which nodes a DaemonSet means, and how its pods are tied to them.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    PodSpec, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{GENERATION_LABEL, generation};
use crate::{node_fit, pods, revision, template};

const NODE_NAME_FIELD: &str = "metadata.name";
/// What every daemon pod tolerates; the last only in the host's network.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
];

fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let in_host = spec.host_network.unwrap_or(false);
    let number = if in_host { TOLERATED.len() } else { TOLERATED.len() - 1 };
    let mut all = spec.tolerations.clone().unwrap_or_default();
    for (key, effect) in &TOLERATED[..number] {
        let fresh = Toleration {
            key: Some((*key).to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some((*effect).to_owned()),
            ..Toleration::default()
        };
        let same = |have: &&mut Toleration| {
            have.key == fresh.key && have.effect == fresh.effect && have.operator == fresh.operator
        };
        match all.iter_mut().find(same) {
            Some(have) => *have = fresh,
            None => all.push(fresh),
        }
    }
    all
}

/// Whether a node gets a pod, and whether one that runs there may stay.
pub fn should_run(set: &DaemonSet, node: &Node) -> (bool, bool) {
    let Some(spec) = set.spec.template.spec.as_ref() else { return (false, false) };
    let named = spec.node_name.as_ref().filter(|name| !name.is_empty());
    if named.is_some_and(|name| Some(name) != node.metadata.name.as_ref())
        || !node_fit::wants(spec, node)
    {
        return (false, false);
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let tolerations = tolerations(spec);
    let felt = |effects: &[&str]| node_fit::untolerated(&tolerations, taints, effects).is_some();
    (!felt(&["NoExecute", "NoSchedule"]), !felt(&["NoExecute"]))
}

/// The pod for one node.
pub fn pod_for(set: &DaemonSet, node: &str, hash: &str, owner: OwnerReference) -> Pod {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = template::pod(&set.spec.template, namespace, owner);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(revision::POD_LABEL.to_owned(), hash.to_owned());
    if let Some(generation) = generation(set) {
        labels.insert(GENERATION_LABEL.to_owned(), generation.clone());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(spec));
    tie(spec.affinity.get_or_insert_default(), node);
    pod
}

/// Replaces the nodes that a pod requires by one.
fn tie(affinity: &mut Affinity, node: &str) {
    let by_name = NodeSelectorRequirement {
        key: NODE_NAME_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![by_name]), match_expressions: None };
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    node_affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

/// The node that a daemon pod runs on or waits for.
pub fn target(pod: &Pod) -> Option<&str> {
    if !pods::node(pod).is_empty() {
        return Some(pods::node(pod));
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|t| t.match_fields.iter().flatten());
    let mut named = fields.filter(|field| field.key == NODE_NAME_FIELD && field.operator == "In");
    match named.next()?.values.as_deref() {
        Some([name]) => Some(name),
        _ => None,
    }
}
