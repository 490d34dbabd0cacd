//! Removing dead containers and sandboxes that nobody looks at any more.

use cri::{ContainerState, ContainerStatus, PodSandboxState};
use podlife::{names, pod};

use super::Worker;
use crate::limits::DEAD_CONTAINERS_MAX;

impl Worker {
    /// Keeps the newest container of each name and a few dead ones beside it.
    pub(super) async fn collect_garbage(&mut self) {
        for container in self.superfluous() {
            if let Err(error) = self.shared.runtime.remove_container(&container.id).await {
                tracing::debug!(container = %container.id, %error, "cannot remove a container");
                continue;
            }
            self.remove_log(&container);
        }
        let newest = self.observed.sandbox().map(|sandbox| sandbox.id.clone());
        let old: Vec<String> = self
            .observed
            .sandboxes
            .iter()
            .filter(|it| Some(&it.id) != newest.as_ref() && it.state != PodSandboxState::Ready)
            .filter(|it| self.observed.containers.iter().all(|c| c.pod_sandbox_id != it.id))
            .map(|it| it.id.clone())
            .collect();
        for id in old {
            if let Err(error) = self.shared.runtime.remove_pod_sandbox(&id).await {
                tracing::debug!(sandbox = %id, %error, "cannot remove a sandbox");
            }
        }
    }

    fn superfluous(&self) -> Vec<ContainerStatus> {
        let mut all = Vec::new();
        let mut names: Vec<&str> =
            self.observed.containers.iter().map(|it| it.metadata.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let dead = self
                .observed
                .history(name)
                .skip(1)
                .filter(|it| matches!(it.state, ContainerState::Exited | ContainerState::Created))
                .skip(DEAD_CONTAINERS_MAX);
            all.extend(dead.cloned());
        }
        all
    }

    fn remove_log(&self, container: &ContainerStatus) {
        self.unlink_log(pod::name(&self.pod), pod::namespace(&self.pod), container);
        if container.log_path.is_empty() {
            return;
        }
        for path in crate::logs::rotation::files_of(std::path::Path::new(&container.log_path)) {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::debug!(path = %path.display(), %error, "cannot remove a log");
            }
        }
    }

    pub(super) fn unlink_log(&self, name: &str, namespace: &str, container: &ContainerStatus) {
        let link = names::legacy_log(name, namespace, &container.metadata.name, &container.id);
        let link = self.shared.config.container_logs().join(link);
        if let Err(error) = std::fs::remove_file(&link)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(link = %link.display(), %error, "cannot remove the link to a log");
        }
    }
}
