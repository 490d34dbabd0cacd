//! Changing the resources of a running pod: what the node has no room for waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use client::EventKind;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use podlife::admit::admit_resize;
use podlife::pod;

use super::Worker;

/// The resources of containers by name.
pub(crate) type Allocated = BTreeMap<String, Option<ResourceRequirements>>;

fn of_pod(pod: &Pod) -> Allocated {
    let containers = pod::init_containers(pod).iter().chain(&pod::spec(pod).containers);
    containers.map(|it| (it.name.clone(), it.resources.clone())).collect()
}

impl Worker {
    /// Grants changed resources when there is room; until then the pod is seen with those it has.
    pub(super) fn allocate(&mut self) {
        let wanted = of_pod(&self.pod);
        let Some(granted) = self.allocated.clone() else {
            self.allocated = Some(wanted);
            return;
        };
        if granted == wanted {
            self.settle(None);
            return;
        }
        let state = self.node_state();
        let others = self.other_pods();
        match admit_resize(&self.pod, &state, others.iter().map(Arc::as_ref)) {
            Ok(()) => {
                self.allocated = Some(wanted);
                self.settle(None);
            }
            Err(pending) => {
                if self.resize.as_ref() != Some(&pending) {
                    let reason = format!("Resize{}", pending.reason);
                    let message = pending.message.clone();
                    self.shared.events.pod(&self.pod, EventKind::Warning, &reason, message);
                }
                self.settle(Some(pending));
                self.pod = Arc::new(with(&self.pod, &granted));
            }
        }
    }

    fn settle(&mut self, pending: Option<podlife::status::PendingResize>) {
        self.signals.resize_waits.store(pending.is_some(), Ordering::Relaxed);
        self.resize = pending;
    }

    pub(super) async fn resize_container(
        &mut self,
        id: &str,
        name: &str,
        limits: &cri::LinuxContainerResources,
    ) {
        if let Err(error) = self.shared.runtime.update_container_resources(id, limits).await {
            let message = format!("Error resizing container {name}: {}", error.rpc_text());
            self.shared.events.pod(&self.pod, EventKind::Warning, "ResizeError", message);
        }
        self.limit_group();
    }
}

/// The pod with other resources.
fn with(pod: &Pod, granted: &Allocated) -> Pod {
    let mut pod = pod.clone();
    if let Some(spec) = &mut pod.spec {
        let init = spec.init_containers.iter_mut().flatten();
        for container in spec.containers.iter_mut().chain(init) {
            if let Some(resources) = granted.get(&container.name) {
                container.resources.clone_from(resources);
            }
        }
    }
    pod
}
