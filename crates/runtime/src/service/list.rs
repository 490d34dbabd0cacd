//! What exists, as CRI shows it.

use std::collections::BTreeMap;

use cri::*;

use super::{Runtime, lock};
use crate::record::{ContainerRecord, SandboxRecord};

impl Runtime {
    pub(super) fn sandbox_status(&self, id: &str) -> Result<PodSandboxStatusResponse> {
        let record = self.sandbox(id)?.record();
        let containers = self.containers_of(&record.id);
        let info = [
            ("pid", record.shim_pid.to_string()),
            ("netns", self.inner.paths.namespace(&record.id).display().to_string()),
        ];
        Ok(PodSandboxStatusResponse {
            containers_statuses: containers.iter().map(|c| status(&c.record())).collect(),
            timestamp: self.now(),
            info: info.map(|(key, value)| (key.to_owned(), value)).into(),
            status: sandbox_status(record),
        })
    }

    pub(super) fn sandboxes(&self, filter: &PodSandboxFilter) -> Vec<PodSandbox> {
        let state = lock(&self.inner.state);
        // Of all that exist, only what is asked for is copied.
        let matching = state.sandboxes.values().filter(|sandbox| {
            let record = lock(&sandbox.record);
            filter.id.as_ref().is_none_or(|id| record.id.starts_with(id.as_str()))
                && filter.state.is_none_or(|wanted| wanted == sandbox_state(&record))
                && has_labels(&record.config.labels, &filter.label_selector)
        });
        let mut list: Vec<PodSandbox> = matching.map(|it| sandbox_item(it.record())).collect();
        list.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        list
    }

    pub(super) fn containers(&self, filter: &ContainerFilter) -> Vec<Container> {
        let state = lock(&self.inner.state);
        let matching = state.containers.values().filter(|container| {
            let record = lock(&container.record);
            filter.id.as_ref().is_none_or(|id| record.id.starts_with(id.as_str()))
                && filter.state.is_none_or(|wanted| wanted == record.state())
                && filter
                    .pod_sandbox_id
                    .as_ref()
                    .is_none_or(|id| record.sandbox_id.starts_with(id.as_str()))
                && has_labels(&record.config.labels, &filter.label_selector)
        });
        let mut list: Vec<Container> = matching.map(|it| container_item(it.record())).collect();
        list.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        list
    }

    pub(super) fn status_of_container(&self, id: &str) -> Result<ContainerStatus> {
        Ok(status(&self.container(id)?.record()))
    }
}

pub(super) fn has_labels(
    labels: &BTreeMap<String, String>,
    selector: &BTreeMap<String, String>,
) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn sandbox_state(record: &SandboxRecord) -> PodSandboxState {
    if record.ready { PodSandboxState::Ready } else { PodSandboxState::NotReady }
}

fn sandbox_status(record: SandboxRecord) -> PodSandboxStatus {
    let network = (!record.host_network()).then(|| {
        let mut ips = record.addresses.iter().map(ToString::to_string);
        PodSandboxNetworkStatus {
            ip: ips.next().unwrap_or_default(),
            additional_ips: ips.collect(),
        }
    });
    PodSandboxStatus {
        state: sandbox_state(&record),
        namespaces: record.namespaces().clone(),
        network,
        id: record.id,
        metadata: record.config.metadata,
        created_at: record.created_at,
        labels: record.config.labels,
        annotations: record.config.annotations,
        runtime_handler: record.handler,
    }
}

fn sandbox_item(record: SandboxRecord) -> PodSandbox {
    PodSandbox {
        state: sandbox_state(&record),
        id: record.id,
        metadata: record.config.metadata,
        created_at: record.created_at,
        labels: record.config.labels,
        annotations: record.config.annotations,
        runtime_handler: record.handler,
    }
}

fn container_item(record: ContainerRecord) -> Container {
    Container {
        state: record.state(),
        id: record.id,
        pod_sandbox_id: record.sandbox_id,
        metadata: record.config.metadata,
        image: record.config.image,
        image_ref: record.image_ref,
        created_at: record.created_at,
        labels: record.config.labels,
        annotations: record.config.annotations,
        image_id: record.image_id,
    }
}

fn status(record: &ContainerRecord) -> ContainerStatus {
    let exit = record.exit.clone().unwrap_or_default();
    let config = &record.config;
    let log_path = record.log_path.as_ref().map(|path| path.display().to_string());
    ContainerStatus {
        id: record.id.clone(),
        pod_sandbox_id: record.sandbox_id.clone(),
        metadata: config.metadata.clone(),
        state: record.state(),
        created_at: record.created_at,
        started_at: record.started_at,
        finished_at: exit.finished_at,
        exit_code: exit.exit_code,
        image: config.image.clone(),
        image_ref: record.image_ref.clone(),
        reason: record.exit_reason().to_owned(),
        message: record.message.clone(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        mounts: config.mounts.clone(),
        log_path: log_path.unwrap_or_default(),
        resources: Some(config.linux.resources.clone()),
        image_id: record.image_id.clone(),
        user: Some(record.user.clone()),
        stop_signal: record.stop_signal_name.clone(),
        pid: if record.exit.is_some() { 0 } else { record.pid },
    }
}
