//! What a sandbox and a container are made from, once everything they need has been looked up.

use std::collections::BTreeMap;

use cri::{
    ContainerConfig, ContainerMetadata, ImageSpec, KeyValue, LinuxContainerConfig,
    LinuxPodSandboxConfig, Mount, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol,
};
use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod};

use crate::observed::{
    ANNOTATION_GRACE, ANNOTATION_HASH, ANNOTATION_MESSAGE_PATH, ANNOTATION_MESSAGE_POLICY,
    ANNOTATION_RESTARTS, LABEL_CONTAINER_NAME, LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID,
};
use crate::security::{self, ImageUser};
use crate::{cgroup, env, hash, names, pod, qos, resources};

/// Where a container writes why it ended, when it does not say.
pub const MESSAGE_PATH_DEFAULT: &str = "/dev/termination-log";

/// The places and facts of the node that sandboxes and containers are made with.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Directory of all pods' logs.
    pub pod_logs: String,
    /// The kubelet's own directory.
    pub root: String,
    /// Prefix of all control groups.
    pub cgroup_prefix: String,
    /// What the node is.
    pub node: resources::NodeFacts,
}

/// What was looked up for a sandbox.
#[derive(Clone, Debug, Default)]
pub struct SandboxParts {
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// Host name.
    pub hostname: String,
    /// Resolver settings.
    pub dns: cri::DnsConfig,
}

fn labels(pod: &Pod) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_POD_NAME.to_owned(), pod::name(pod).to_owned()),
        (LABEL_POD_NAMESPACE.to_owned(), pod::namespace(pod).to_owned()),
        (LABEL_POD_UID.to_owned(), pod::uid(pod).to_owned()),
    ])
}

fn port_mapping(port: &ContainerPort) -> Option<PortMapping> {
    Some(PortMapping {
        protocol: match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        },
        container_port: port.container_port,
        host_port: port.host_port.filter(|host_port| *host_port > 0)?,
        host_ip: port.host_ip.clone().unwrap_or_default(),
    })
}

/// What a pod's sandbox is made from.
pub fn sandbox_config(pod: &Pod, parts: &SandboxParts, place: &Place) -> PodSandboxConfig {
    let spec = pod::spec(pod);
    let mut all_labels = pod.metadata.labels.clone().unwrap_or_default();
    all_labels.extend(labels(pod));
    let sidecars = pod::init_containers(pod).iter().filter(|init| pod::is_sidecar(init));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|it| it.ports.iter().flatten());
    let on_host = pod::host_network(pod);
    let log_directory =
        names::pod_log_directory(pod::namespace(pod), pod::name(pod), pod::uid(pod));
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    PodSandboxConfig {
        metadata: PodSandboxMetadata {
            name: pod::name(pod).to_owned(),
            uid: pod::uid(pod).to_owned(),
            namespace: pod::namespace(pod).to_owned(),
            attempt: parts.attempt,
        },
        hostname: parts.hostname.clone(),
        log_directory: format!("{}/{log_directory}", place.pod_logs),
        dns_config: Some(parts.dns.clone()),
        port_mappings: ports.filter(|_| !on_host).filter_map(port_mapping).collect(),
        labels: all_labels,
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
        linux: LinuxPodSandboxConfig {
            cgroup_parent: cgroup::of_pod(&place.cgroup_prefix, qos::class(pod), pod::uid(pod)),
            security_context: security::of_sandbox(pod, &place.root),
            sysctls: sysctls.map(|it| (it.name.replace('/', "."), it.value.clone())).collect(),
            overhead: None,
            resources: Some(resources::of_pod(pod)),
        },
    }
}

/// What was looked up for a container.
#[derive(Clone, Debug, Default)]
pub struct ContainerParts {
    /// How often it was started before.
    pub restarts: i32,
    /// Image to run: an id or a name that is present.
    pub image: String,
    /// The user that the image runs as.
    pub image_user: ImageUser,
    /// Its environment.
    pub env: Vec<KeyValue>,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// Its devices.
    pub devices: Vec<cri::Device>,
    /// The container whose processes it sees, when it is an ephemeral one with a target.
    pub target_id: Option<String>,
}

/// What a container is made from.
pub fn container_config(
    pod: &Pod,
    container: &Container,
    parts: ContainerParts,
    place: &Place,
) -> ContainerConfig {
    let expand = |list: &Option<Vec<String>>| -> Vec<String> {
        let lookup = |name: &str| {
            let found = parts.env.iter().rev().find(|have| have.key == name);
            found.map(|have| have.value.clone())
        };
        list.iter().flatten().map(|text| env::expand(text, lookup)).collect()
    };
    let mut all_labels = labels(pod);
    all_labels.insert(LABEL_CONTAINER_NAME.to_owned(), container.name.clone());
    let image = ImageSpec {
        image: parts.image.clone(),
        user_specified_image: container.image.clone().unwrap_or_default(),
        ..ImageSpec::default()
    };
    let attempt = u32::try_from(parts.restarts).unwrap_or(0);
    let security_context = security::of_container(
        pod,
        container,
        &parts.image_user,
        parts.target_id.as_deref(),
        &place.root,
    );
    ContainerConfig {
        metadata: ContainerMetadata { name: container.name.clone(), attempt },
        image,
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts: parts.mounts,
        devices: parts.devices,
        labels: all_labels,
        annotations: annotations(pod, container, parts.restarts),
        log_path: names::container_log(&container.name, parts.restarts),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: LinuxContainerConfig {
            resources: resources::of_container(pod, container, &place.node),
            security_context,
        },
        stop_signal: container
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.stop_signal.clone())
            .unwrap_or_default(),
        envs: parts.env,
    }
}

fn annotations(pod: &Pod, container: &Container, restarts: i32) -> BTreeMap<String, String> {
    let path = container.termination_message_path.as_deref().unwrap_or(MESSAGE_PATH_DEFAULT);
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    let grace = pod::spec(pod).termination_grace_period_seconds;
    let mut annotations = BTreeMap::from([
        (ANNOTATION_HASH.to_owned(), hash::of_container(container)),
        (ANNOTATION_RESTARTS.to_owned(), restarts.to_string()),
        (ANNOTATION_MESSAGE_PATH.to_owned(), path.to_owned()),
        (ANNOTATION_MESSAGE_POLICY.to_owned(), policy.to_owned()),
    ]);
    if let Some(grace) = grace {
        annotations.insert(ANNOTATION_GRACE.to_owned(), grace.to_string());
    }
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn configs_carry_what_a_restarted_kubelet_needs() {
        let pod = crate::testing::pod(json!({"terminationGracePeriodSeconds": 5, "containers": [
            {"name": "a", "image": "i", "command": ["sh", "$(X)"], "args": ["$(Y)"],
             "ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]}]}));
        let place = Place { pod_logs: "/logs".into(), ..Place::default() };
        let parts = SandboxParts { attempt: 2, hostname: "p".into(), ..SandboxParts::default() };
        let sandbox = sandbox_config(&pod, &parts, &place);
        assert_eq!(sandbox.log_directory, "/logs/ns_p_u");
        assert_eq!(sandbox.linux.cgroup_parent, "/kubepods/besteffort/podu");
        assert_eq!(sandbox.port_mappings.len(), 1);
        assert_eq!(sandbox.metadata.attempt, 2);
        let parts = ContainerParts {
            restarts: 3,
            image: "sha256:1".into(),
            env: vec![KeyValue { key: "X".into(), value: "1".into() }],
            ..ContainerParts::default()
        };
        let config = container_config(&pod, &pod::spec(&pod).containers[0], parts, &place);
        assert_eq!(
            (config.command, config.args),
            (vec!["sh".into(), "1".into()], vec!["$(Y)".into()])
        );
        assert_eq!(config.log_path, "a/3.log");
        assert_eq!(config.annotations[ANNOTATION_RESTARTS], "3");
        assert_eq!(config.annotations[ANNOTATION_GRACE], "5");
        assert_eq!(config.labels[LABEL_POD_UID], "u");
    }
}
