//! A pod as the scheduler sees it: parsed once, shared afterwards.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{Pod, PodSpec, Toleration, Volume},
    apimachinery::pkg::apis::meta::v1::{OwnerReference, Time},
};

use crate::{
    affinity::Terms,
    labels::{self, Labels, NodeDemand},
    ports::{self, HostPort},
    resources::{PodRequests, Resources},
};

/// A claim that a pod mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName {
    /// Name of the PersistentVolumeClaim.
    pub name: String,
    /// Whether the pod owns it through a generic ephemeral volume.
    pub ephemeral: bool,
}

/// A parsed pod.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// The object itself.
    pub pod: Arc<Pod>,
    /// The pod's identity; its name stands in where the object has no UID.
    pub uid: Arc<str>,
    /// Higher goes first, and may displace lower.
    pub priority: i32,
    /// What must fit.
    pub requests: Resources,
    /// What scores: requests with a floor.
    pub scored: Resources,
    /// Host ports.
    pub ports: Vec<HostPort>,
    /// Affinity to other pods.
    pub terms: Terms,
    /// Equal for pods whose terms are equal; empty without terms.
    pub(crate) terms_key: Arc<str>,
    /// Demands on the node.
    pub demand: NodeDemand,
    /// Claims the pod mounts.
    pub claims: Vec<ClaimName>,
    /// Normalised image names, one per container.
    pub images: Vec<String>,
    /// Why the pod could not be read in full; such a pod is never placed.
    pub problem: Option<String>,
}

impl PodInfo {
    /// Parses `pod`.
    pub fn new(pod: Arc<Pod>) -> Self {
        let mut problem = None;
        let mut note = |error: &dyn std::error::Error| {
            problem.get_or_insert_with(|| format!("parsing pod: {error}"));
        };
        let requests = PodRequests::of(&pod).unwrap_or_else(|error| {
            note(&error);
            PodRequests::default()
        });
        let terms = Terms::of(&pod).unwrap_or_else(|error| {
            note(&error);
            Terms::default()
        });
        let terms_key = if terms.is_empty() { String::new() } else { format!("{terms:?}") };
        Self {
            uid: identity(&pod),
            terms_key: Arc::from(terms_key),
            priority: pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default(),
            requests: requests.requests,
            scored: requests.scored,
            ports: ports::of(&pod),
            terms,
            demand: NodeDemand::of_pod(&pod),
            claims: claims(&pod),
            images: images(&pod),
            problem,
            pod,
        }
    }

    /// The pod's namespace.
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The pod's name.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// The pod's labels.
    pub fn labels(&self) -> &Labels {
        labels::of(&self.pod.metadata)
    }

    /// The node the pod is bound to.
    pub fn node_name(&self) -> Option<&str> {
        self.spec()?.node_name.as_deref().filter(|name| !name.is_empty())
    }

    /// The node that lower pods are being moved away from for this one.
    pub fn nominated_node_name(&self) -> Option<&str> {
        let status = self.pod.status.as_ref()?;
        status.nominated_node_name.as_deref().filter(|name| !name.is_empty())
    }

    /// The scheduler that the pod asks for.
    pub fn scheduler_name(&self) -> &str {
        let name = self.spec().and_then(|spec| spec.scheduler_name.as_deref());
        name.filter(|name| !name.is_empty()).unwrap_or("default-scheduler")
    }

    /// Whether the pod is being deleted.
    pub fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// Whether the pod has run to its end and takes no resources any more.
    pub fn is_finished(&self) -> bool {
        let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    /// When the kubelet took the pod on.
    pub fn start_time(&self) -> Option<&Time> {
        self.pod.status.as_ref()?.start_time.as_ref()
    }

    pub(crate) fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    pub(crate) fn tolerations(&self) -> &[Toleration] {
        self.spec().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
    }

    pub(crate) fn volumes(&self) -> &[Volume] {
        self.spec().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default()
    }

    /// Whether `uid` owns `claim`, as it must for generic ephemeral volumes.
    pub(crate) fn owns(&self, references: Option<&Vec<OwnerReference>>) -> bool {
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        references
            .into_iter()
            .flatten()
            .any(|owner| owner.controller == Some(true) && owner.kind == "Pod" && owner.uid == uid)
    }
}

/// The controller that owns `pod`.
pub fn controller_of(pod: &Pod) -> Option<&OwnerReference> {
    pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn identity(pod: &Pod) -> Arc<str> {
    match pod.metadata.uid.as_deref() {
        Some(uid) if !uid.is_empty() => Arc::from(uid),
        _ => {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            Arc::from(format!("{}/{}", text(&pod.metadata.namespace), text(&pod.metadata.name)))
        }
    }
}

fn claims(pod: &Pod) -> Vec<ClaimName> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let claims = volumes.iter().filter_map(|volume| {
        if let Some(claim) = &volume.persistent_volume_claim {
            return Some(ClaimName { name: claim.claim_name.clone(), ephemeral: false });
        }
        volume.ephemeral.as_ref()?;
        Some(ClaimName { name: format!("{pod_name}-{}", volume.name), ephemeral: true })
    });
    claims.collect()
}

fn images(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    containers
        .map(|container| normalize_image(container.image.as_deref().unwrap_or_default()))
        .collect()
}

/// Adds `:latest` to a name that has no tag.
fn normalize_image(name: &str) -> String {
    match (name.rfind(':'), name.rfind('/')) {
        (Some(colon), Some(slash)) if colon > slash => name.to_owned(),
        (Some(_), None) => name.to_owned(),
        _ => format!("{name}:latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_a_tag_are_latest() {
        for (name, expected) in [
            ("nginx", "nginx:latest"),
            ("nginx:1", "nginx:1"),
            ("localhost:5000/nginx", "localhost:5000/nginx:latest"),
            ("localhost:5000/nginx:1", "localhost:5000/nginx:1"),
            ("", ":latest"),
        ] {
            assert_eq!(normalize_image(name), expected);
        }
    }
}
