//! What the runtime shows of one pod at one moment, and the labels and annotations by which its
//! containers are recognised after a restart of the kubelet.

use std::collections::BTreeMap;

use cri::{ContainerState, ContainerStatus, PodSandboxState, PodSandboxStatus};

/// Label: name of the pod.
pub const LABEL_POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: namespace of the pod.
pub const LABEL_POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: UID of the pod.
pub const LABEL_POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: name of the container.
pub const LABEL_CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: hash of what the container was made from.
pub const ANNOTATION_HASH: &str = "io.kubernetes.container.hash";
/// Annotation: how often the container was started before.
pub const ANNOTATION_RESTARTS: &str = "io.kubernetes.container.restartCount";
/// Annotation: where the container writes its termination message.
pub const ANNOTATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: where else the termination message may come from.
pub const ANNOTATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the pod's grace period, for when the pod's own text is gone.
pub const ANNOTATION_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// The labels of everything that belongs to a pod.
pub fn pod_labels(uid: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(LABEL_POD_UID.to_owned(), uid.to_owned())])
}

/// Sandboxes and containers of a pod, each newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Sandboxes.
    pub sandboxes: Vec<PodSandboxStatus>,
    /// Containers of all sandboxes.
    pub containers: Vec<ContainerStatus>,
}

impl Observed {
    /// Sorts what was listed.
    pub fn new(mut sandboxes: Vec<PodSandboxStatus>, mut containers: Vec<ContainerStatus>) -> Self {
        sandboxes.sort_by_key(|sandbox| {
            std::cmp::Reverse((sandbox.metadata.attempt, sandbox.created_at))
        });
        containers.sort_by_key(|container| {
            std::cmp::Reverse((container.created_at, restarts(container)))
        });
        Self { sandboxes, containers }
    }

    /// The newest sandbox.
    pub fn sandbox(&self) -> Option<&PodSandboxStatus> {
        self.sandboxes.first()
    }

    /// The newest sandbox, when it works.
    pub fn ready_sandbox(&self) -> Option<&PodSandboxStatus> {
        self.sandbox().filter(|sandbox| sandbox.state == PodSandboxState::Ready)
    }

    /// The newest container of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.iter().find(|container| container.metadata.name == name)
    }

    /// The newest container of that name in that sandbox.
    pub fn container_in(&self, sandbox_id: &str, name: &str) -> Option<&ContainerStatus> {
        self.containers.iter().find(|container| {
            container.metadata.name == name && container.pod_sandbox_id == sandbox_id
        })
    }

    /// All containers of that name, newest first.
    pub fn history<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a ContainerStatus> + 'a {
        self.containers.iter().filter(move |container| container.metadata.name == name)
    }

    /// Containers with a process.
    pub fn running(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.containers.iter().filter(|container| container.state == ContainerState::Running)
    }

    /// Whether anything of the pod still runs.
    pub fn is_running(&self) -> bool {
        self.running().next().is_some()
            || self.sandboxes.iter().any(|sandbox| sandbox.state == PodSandboxState::Ready)
    }

    /// Whether the runtime knows nothing of the pod.
    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }

    /// The pod's addresses.
    pub fn ips(&self) -> Vec<String> {
        let network = self.ready_sandbox().and_then(|sandbox| sandbox.network.as_ref());
        network.map(|network| network.ips().map(str::to_owned).collect()).unwrap_or_default()
    }
}

/// How often the container was started before this time.
pub fn restarts(container: &ContainerStatus) -> i32 {
    let noted = container.annotations.get(ANNOTATION_RESTARTS).and_then(|text| text.parse().ok());
    noted.unwrap_or_else(|| i32::try_from(container.metadata.attempt).unwrap_or(i32::MAX))
}
