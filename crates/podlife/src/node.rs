//! The node's own object: its labels, conditions and figures.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints,
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::status::seconds;

/// Most images that a node's status lists.
pub const IMAGES_MAX: usize = 50;
/// Most names of one image that a node's status lists.
pub const IMAGE_NAMES_MAX: usize = 5;

/// What was found out about the machine and the runtime.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeInputs {
    /// Addresses with their types.
    pub addresses: Vec<(String, String)>,
    /// What the machine has.
    pub capacity: BTreeMap<String, Quantity>,
    /// What of it pods can have.
    pub allocatable: BTreeMap<String, Quantity>,
    /// Versions and ids.
    pub info: NodeSystemInfo,
    /// Port of the kubelet's server.
    pub port: i32,
    /// Names and sizes of images.
    pub images: Vec<(Vec<String>, i64)>,
    /// What the runtime's handlers can do.
    pub handlers: Vec<cri::RuntimeHandler>,
    /// Why the node is not ready; empty when it is.
    pub not_ready: Vec<String>,
    /// Pressures by condition type.
    pub memory_pressure: bool,
    /// Too little disk.
    pub disk_pressure: bool,
    /// Too few process ids.
    pub pid_pressure: bool,
}

/// The labels that every node has.
pub fn labels(name: &str, architecture: &str) -> BTreeMap<String, String> {
    let pairs = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Go's name of an architecture that Rust names in its own way.
pub fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn condition(
    known: &[NodeCondition],
    (type_, status): (&str, &str),
    (reason, message): (&str, &str),
    now: Timestamp,
) -> NodeCondition {
    let before = known.iter().find(|before| before.type_ == type_ && before.status == status);
    NodeCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(seconds(now)),
        last_transition_time: before
            .and_then(|before| before.last_transition_time.clone())
            .or_else(|| Some(seconds(now))),
    }
}

fn conditions(inputs: &NodeInputs, known: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let pressure = |kind: &str, holds: bool, words: [(&str, &str); 2]| {
        let status = if holds { "True" } else { "False" };
        condition(known, (kind, status), words[usize::from(!holds)], now)
    };
    let ready = if inputs.not_ready.is_empty() {
        let words = ("KubeletReady", "kubelet is posting ready status");
        condition(known, ("Ready", "True"), words, now)
    } else {
        let message = match inputs.not_ready.as_slice() {
            [one] => one.clone(),
            more => format!("[{}]", more.join(", ")),
        };
        condition(known, ("Ready", "False"), ("KubeletNotReady", &message), now)
    };
    let mut all = vec![
        pressure(
            "MemoryPressure",
            inputs.memory_pressure,
            [
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ],
        ),
        pressure(
            "DiskPressure",
            inputs.disk_pressure,
            [
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ],
        ),
        pressure(
            "PIDPressure",
            inputs.pid_pressure,
            [
                ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
                ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ],
        ),
        ready,
    ];
    let owned: Vec<String> = all.iter().map(|have| have.type_.clone()).collect();
    all.extend(known.iter().filter(|other| !owned.contains(&other.type_)).cloned());
    all
}

fn images(list: &[(Vec<String>, i64)]) -> Option<Vec<ContainerImage>> {
    let mut sorted: Vec<&(Vec<String>, i64)> = list.iter().collect();
    sorted.sort_by_key(|(names, size)| (std::cmp::Reverse(*size), names.clone()));
    let chosen = sorted.into_iter().take(IMAGES_MAX).map(|(names, size)| ContainerImage {
        names: Some(names.iter().take(IMAGE_NAMES_MAX).cloned().collect()),
        size_bytes: Some(*size),
    });
    Some(chosen.collect::<Vec<_>>()).filter(|images| !images.is_empty())
}

/// The status to report, given the one that the API has.
pub fn status(inputs: &NodeInputs, known: &NodeStatus, now: Timestamp) -> NodeStatus {
    let handlers = inputs.handlers.iter().map(|handler| NodeRuntimeHandler {
        name: Some(handler.name.clone()),
        features: Some(NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(handler.recursive_read_only_mounts),
            user_namespaces: Some(handler.user_namespaces),
        }),
    });
    let addresses = inputs
        .addresses
        .iter()
        .map(|(type_, address)| NodeAddress { type_: type_.clone(), address: address.clone() });
    NodeStatus {
        addresses: Some(addresses.collect()),
        capacity: Some(inputs.capacity.clone()),
        allocatable: Some(inputs.allocatable.clone()),
        conditions: Some(conditions(inputs, known.conditions.as_deref().unwrap_or_default(), now)),
        node_info: Some(inputs.info.clone()),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: inputs.port }),
        }),
        images: images(&inputs.images),
        runtime_handlers: Some(handlers.collect::<Vec<_>>()).filter(|list| !list.is_empty()),
        volumes_attached: known.volumes_attached.clone(),
        volumes_in_use: known.volumes_in_use.clone(),
        ..NodeStatus::default()
    }
}

/// Whether two statuses say the same but for the time of the heartbeat.
pub fn same_but_for_heartbeat(left: &NodeStatus, right: &NodeStatus) -> bool {
    let without = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    without(left) == without(right)
}

/// Whether somebody has written over what only the kubelet knows: clients that write a whole status leave at zero
/// what they do not know.
pub fn is_overwritten(known: &NodeStatus, own: &NodeStatus) -> bool {
    let port = |status: &NodeStatus| {
        let endpoints = status.daemon_endpoints.as_ref()?;
        Some(endpoints.kubelet_endpoint.as_ref()?.port)
    };
    let version = |status: &NodeStatus| Some(status.node_info.as_ref()?.kubelet_version.clone());
    port(known) != port(own) || version(known) != version(own)
}

/// The object that a new node registers with.
pub fn initial(
    name: &str,
    labels: BTreeMap<String, String>,
    taints: Vec<k8s_openapi::api::core::v1::Taint>,
    status: NodeStatus,
) -> Node {
    let mut node = Node::default();
    node.metadata.name = Some(name.to_owned());
    node.metadata.labels = Some(labels);
    node.metadata.annotations = Some(BTreeMap::from([(
        "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
        "true".to_owned(),
    )]));
    let spec = node.spec.get_or_insert_default();
    spec.taints = Some(taints).filter(|taints| !taints.is_empty());
    node.status = Some(status);
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn conditions_turn_and_keep_their_times() {
        let mut inputs = NodeInputs {
            not_ready: vec!["network plugin is not ready: x".into()],
            ..NodeInputs::default()
        };
        let first = status(&inputs, &NodeStatus::default(), at(1));
        inputs.not_ready.clear();
        let mut known = first.clone();
        let other = NodeCondition { type_: "Mine".into(), ..NodeCondition::default() };
        known.conditions.as_mut().unwrap().push(other);
        let second = status(&inputs, &known, at(9));
        let line = |status: &NodeStatus, kind: &str| {
            let list = status.conditions.as_ref().unwrap();
            let found = list.iter().find(|have| have.type_ == kind).unwrap();
            let when = found.last_transition_time.as_ref().map_or(0, |time| time.0.as_second());
            format!("{} {}@{when}", found.status, found.reason.as_deref().unwrap_or_default())
        };
        assert_eq!(line(&first, "Ready"), "False KubeletNotReady@1");
        assert_eq!(line(&second, "Ready"), "True KubeletReady@9");
        assert_eq!(line(&second, "DiskPressure"), "False KubeletHasNoDiskPressure@1");
        assert_eq!(line(&second, "Mine"), " @0");
        let later = status(&inputs, &second, at(20));
        assert!(same_but_for_heartbeat(&second, &later));
        assert!(!same_but_for_heartbeat(&first, &second));
    }

    #[test]
    fn images_are_the_largest_ones() {
        let inputs = NodeInputs {
            images: (0..60).map(|size| (vec![format!("i{size}"); 7], size)).collect(),
            ..NodeInputs::default()
        };
        let images = status(&inputs, &NodeStatus::default(), at(0)).images.unwrap();
        assert_eq!(images.len(), IMAGES_MAX);
        assert_eq!(images[0].size_bytes, Some(59));
        assert_eq!(images[0].names.as_ref().unwrap().len(), IMAGE_NAMES_MAX);
    }
}
