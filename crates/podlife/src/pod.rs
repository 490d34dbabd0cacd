//! Short questions about a pod's own text that several decisions ask.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};

static NO_SPEC: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);

/// Annotation that makes a pod a mirror of a static one, with the hash of its source.
pub const ANNOTATION_MIRROR: &str = "kubernetes.io/config.mirror";
/// Annotation that says where a pod comes from.
pub const ANNOTATION_SOURCE: &str = "kubernetes.io/config.source";
/// Priority from which on a pod counts as critical to the system.
pub const PRIORITY_CRITICAL: i32 = 2_000_000_000;

/// The UID, empty when the pod has none.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The name.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The namespace.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// `name_namespace(uid)`: how messages name a pod.
pub fn described(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// The spec; an empty one when there is none.
pub fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or_else(|| &NO_SPEC)
}

/// An annotation.
pub fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Init containers in their order.
pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

/// Ephemeral containers.
pub fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    spec(pod).ephemeral_containers.as_deref().unwrap_or_default()
}

/// Whether the pod shares the node's network.
pub fn host_network(pod: &Pod) -> bool {
    spec(pod).host_network.unwrap_or(false)
}

/// Whether an init container keeps running beside the main ones.
pub fn is_sidecar(init: &Container) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

/// Whether the pod came from a manifest on the node and not from the API.
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, ANNOTATION_SOURCE).is_some_and(|source| source != "api")
}

/// Whether the system depends on the pod.
pub fn is_critical(pod: &Pod) -> bool {
    is_static(pod) || spec(pod).priority.is_some_and(|priority| priority >= PRIORITY_CRITICAL)
}

/// Whether the pod has ended for good.
pub fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// When a container is started again after it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Always.
    Always,
    /// When it failed.
    OnFailure,
    /// Never.
    Never,
}

impl RestartPolicy {
    fn parse(text: Option<&str>) -> Option<Self> {
        match text? {
            "Always" => Some(Self::Always),
            "OnFailure" => Some(Self::OnFailure),
            "Never" => Some(Self::Never),
            _ => None,
        }
    }

    /// Whether a container that ended with `exit_code` is started again.
    pub fn restarts(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

/// The pod's restart policy.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    RestartPolicy::parse(spec(pod).restart_policy.as_deref()).unwrap_or(RestartPolicy::Always)
}

/// Whether a main or init container that ended with `exit_code` is started again: its own rules first,
/// then its own policy, then the pod's.
pub fn restarts_after(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        if let Some(codes) = &rule.exit_codes {
            let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
            if listed == (codes.operator == "In") {
                return rule.action == "Restart";
            }
        }
    }
    RestartPolicy::parse(container.restart_policy.as_deref())
        .unwrap_or_else(|| restart_policy(pod))
        .restarts(exit_code)
}

/// Whether an init container that failed is tried again.
pub fn retries_init(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    match restart_policy(pod) {
        RestartPolicy::Never => restarts_after(pod, container, exit_code),
        _ => true,
    }
}

/// An ephemeral container seen as any other.
pub fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let it = ephemeral.clone();
    Container {
        args: it.args,
        command: it.command,
        env: it.env,
        env_from: it.env_from,
        image: it.image,
        image_pull_policy: it.image_pull_policy,
        name: it.name,
        security_context: it.security_context,
        stdin: it.stdin,
        stdin_once: it.stdin_once,
        termination_message_path: it.termination_message_path,
        termination_message_policy: it.termination_message_policy,
        tty: it.tty,
        volume_devices: it.volume_devices,
        volume_mounts: it.volume_mounts,
        working_dir: it.working_dir,
        ..Container::default()
    }
}

/// Names a container of a pod by its list and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerRef {
    /// Of `initContainers`.
    Init(usize),
    /// Of `containers`.
    Main(usize),
    /// Of `ephemeralContainers`.
    Ephemeral(usize),
}

/// The container that `reference` names.
pub fn container(pod: &Pod, reference: ContainerRef) -> Option<Container> {
    match reference {
        ContainerRef::Init(at) => init_containers(pod).get(at).cloned(),
        ContainerRef::Main(at) => spec(pod).containers.get(at).cloned(),
        ContainerRef::Ephemeral(at) => ephemeral_containers(pod).get(at).map(as_container),
    }
}

/// All containers, in the order init, main, ephemeral.
pub fn references(pod: &Pod) -> Vec<ContainerRef> {
    let init = (0..init_containers(pod).len()).map(ContainerRef::Init);
    let main = (0..spec(pod).containers.len()).map(ContainerRef::Main);
    let ephemeral = (0..ephemeral_containers(pod).len()).map(ContainerRef::Ephemeral);
    init.chain(main).chain(ephemeral).collect()
}

/// The container of that name.
pub fn find(pod: &Pod, name: &str) -> Option<(ContainerRef, Container)> {
    references(pod).into_iter().find_map(|reference| {
        let container = container(pod, reference)?;
        (container.name == name).then_some((reference, container))
    })
}

/// The path of a container within the pod, as events name it.
pub fn field_path(reference: ContainerRef, name: &str) -> String {
    match reference {
        ContainerRef::Init(_) => format!("spec.initContainers{{{name}}}"),
        ContainerRef::Main(_) => format!("spec.containers{{{name}}}"),
        ContainerRef::Ephemeral(_) => format!("spec.ephemeralContainers{{{name}}}"),
    }
}
