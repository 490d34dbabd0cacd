//! The states of a pod's containers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, ContainerUser, LinuxContainerUser, Pod,
    ResourceRequirements, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Inputs, from_nanos};
use crate::observed;
use crate::pod;

/// Which of the pod's lists of containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `initContainers`
    Init,
    /// `containers`
    Main,
    /// `ephemeralContainers`
    Ephemeral,
}

impl List {
    fn containers(self, pod: &Pod) -> Vec<Container> {
        match self {
            Self::Init => pod::init_containers(pod).to_vec(),
            Self::Main => pod::spec(pod).containers.clone(),
            Self::Ephemeral => {
                pod::ephemeral_containers(pod).iter().map(pod::as_container).collect()
            }
        }
    }

    fn last(self, inputs: &Inputs<'_>) -> BTreeMap<String, ContainerStatus> {
        let last = match self {
            Self::Init => &inputs.last.init_container_statuses,
            Self::Main => &inputs.last.container_statuses,
            Self::Ephemeral => &inputs.last.ephemeral_container_statuses,
        };
        last.iter().flatten().map(|status| (status.name.clone(), status.clone())).collect()
    }
}

/// The statuses of a list, in the order of the spec.
pub fn statuses(inputs: &Inputs<'_>, list: List) -> Vec<ContainerStatus> {
    let mut last = list.last(inputs);
    let containers = list.containers(inputs.pod).into_iter();
    containers
        .map(|container| {
            let last = last.remove(&container.name);
            status(inputs, list, &container, last.as_ref())
        })
        .collect()
}

fn status(
    inputs: &Inputs<'_>,
    list: List,
    container: &Container,
    last: Option<&ContainerStatus>,
) -> ContainerStatus {
    let mut history = inputs.observed.history(&container.name);
    let newest = history.next();
    let previous = history.find(|status| status.state == cri::ContainerState::Exited);
    let mut status = match newest {
        Some(newest) => from_runtime(inputs, list, container, newest, last),
        None => unseen(inputs, list, container, last),
    };
    if let Some(previous) = previous {
        status.last_state = Some(terminated(inputs, previous));
    } else if newest.is_some()
        && let Some(last) = last
        && last.restart_count <= status.restart_count
    {
        status.last_state = carried_over(&status, last);
    }
    apply_start_error(inputs, list, container, newest, &mut status);
    set_readiness(inputs, list, container, newest, &mut status);
    status.allocated_resources =
        container.resources.as_ref().and_then(|resources| resources.requests.clone());
    status
}

/// The previous end, when the runtime no longer has it.
fn carried_over(status: &ContainerStatus, last: &ContainerStatus) -> Option<ContainerState> {
    let ended = last.state.as_ref().filter(|state| {
        state.terminated.as_ref().is_some_and(|ended| ended.container_id != status.container_id)
    });
    ended.or(last.last_state.as_ref()).cloned()
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..ContainerState::default()
    }
}

fn waiting_by_default(inputs: &Inputs<'_>, list: List) -> ContainerState {
    let has_init = !pod::init_containers(inputs.pod).is_empty();
    match list {
        List::Main | List::Init if has_init => waiting("PodInitializing", None),
        _ => waiting("ContainerCreating", None),
    }
}

fn blank(container: &Container) -> ContainerStatus {
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        ..ContainerStatus::default()
    }
}

/// A container that the runtime does not know: not made yet, or lost.
fn unseen(
    inputs: &Inputs<'_>,
    list: List,
    container: &Container,
    last: Option<&ContainerStatus>,
) -> ContainerStatus {
    let mut status = blank(container);
    status.state = Some(waiting_by_default(inputs, list));
    let Some(last) = last else { return status };
    let last_state = last.state.clone().unwrap_or_default();
    if last_state.terminated.is_some() {
        return last.clone();
    }
    status.restart_count = last.restart_count;
    status.last_state.clone_from(&last.last_state);
    if let Some(running) = last_state.running {
        let lost = lost(last, running.started_at);
        if inputs.pod.metadata.deletion_timestamp.is_some() {
            status.state = Some(lost);
        } else {
            status.last_state = Some(lost);
            status.restart_count += 1;
        }
    }
    status
}

fn lost(
    last: &ContainerStatus,
    started_at: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
) -> ContainerState {
    let message = "The container could not be located when the pod was deleted.  \
                   The container used to be Running";
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some(message.to_owned()),
            container_id: last.container_id.clone(),
            started_at,
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

fn terminated(inputs: &Inputs<'_>, status: &cri::ContainerStatus) -> ContainerState {
    let own = inputs.messages.get(&status.id).filter(|message| !message.is_empty());
    let runtime = (!status.message.is_empty()).then_some(&status.message);
    let reason = match status.reason.as_str() {
        "" if status.exit_code == 0 => cri::container::REASON_COMPLETED,
        "" => cri::container::REASON_ERROR,
        reason => reason,
    };
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: status.exit_code,
            reason: Some(reason.to_owned()),
            message: own.or(runtime).cloned(),
            started_at: from_nanos(status.started_at),
            finished_at: from_nanos(status.finished_at),
            container_id: Some(container_id(inputs, status)),
            signal: None,
        }),
        ..ContainerState::default()
    }
}

fn container_id(inputs: &Inputs<'_>, status: &cri::ContainerStatus) -> String {
    format!("{}://{}", inputs.runtime_name, status.id)
}

fn from_runtime(
    inputs: &Inputs<'_>,
    list: List,
    container: &Container,
    runtime: &cri::ContainerStatus,
    last: Option<&ContainerStatus>,
) -> ContainerStatus {
    let mut status = blank(container);
    status.restart_count = observed::restarts(runtime);
    if let Some(last) = last {
        status.restart_count = status.restart_count.max(last.restart_count);
    }
    status.container_id = Some(container_id(inputs, runtime));
    status.image_id.clone_from(&runtime.image_ref);
    if !runtime.image.image.is_empty() && !runtime.image.image.starts_with("sha256:") {
        status.image.clone_from(&runtime.image.image);
    }
    status.state = Some(match runtime.state {
        cri::ContainerState::Running if inputs.hook_pending.contains(&container.name) => {
            waiting_by_default(inputs, list)
        }
        cri::ContainerState::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: from_nanos(runtime.started_at) }),
            ..ContainerState::default()
        },
        cri::ContainerState::Exited => terminated(inputs, runtime),
        cri::ContainerState::Created | cri::ContainerState::Unknown => {
            waiting_by_default(inputs, list)
        }
    });
    if runtime.state == cri::ContainerState::Running {
        status.resources = Some(resources(container, runtime));
    }
    status.user = runtime.user.as_ref().map(user);
    status.volume_mounts = mounts(container);
    status
}

fn user(user: &cri::LinuxContainerUser) -> ContainerUser {
    ContainerUser {
        linux: Some(LinuxContainerUser {
            uid: user.uid,
            gid: user.gid,
            supplemental_groups: super::some(user.supplemental_groups.clone()),
        }),
    }
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.iter().flatten();
    super::some(
        mounts
            .map(|mount| VolumeMountStatus {
                name: mount.name.clone(),
                mount_path: mount.mount_path.clone(),
                read_only: mount.read_only,
                recursive_read_only: mount.read_only.unwrap_or(false).then(|| {
                    mount.recursive_read_only.clone().unwrap_or_else(|| "Disabled".into())
                }),
                ..VolumeMountStatus::default()
            })
            .collect(),
    )
}

/// The requests and limits that are in force.
fn resources(container: &Container, runtime: &cri::ContainerStatus) -> ResourceRequirements {
    let mut resources = container.resources.clone().unwrap_or_default();
    if let Some(have) = &runtime.resources
        && let Some(limits) = resources.limits.as_mut()
        && have.memory_limit_in_bytes > 0
        && let Some(limit) = limits.get_mut("memory")
        && crate::quantity::value(limit) != have.memory_limit_in_bytes
    {
        *limit = Quantity(have.memory_limit_in_bytes.to_string());
    }
    resources
}

fn apply_start_error(
    inputs: &Inputs<'_>,
    list: List,
    container: &Container,
    newest: Option<&cri::ContainerStatus>,
    status: &mut ContainerStatus,
) {
    let Some(error) = inputs.start_errors.get(&container.name) else { return };
    let will_start = newest.is_none_or(|newest| match list {
        List::Init if newest.state == cri::ContainerState::Exited => {
            pod::is_sidecar(container) || newest.exit_code != 0
        }
        List::Ephemeral => newest.state != cri::ContainerState::Exited,
        _ => crate::actions::should_restart(inputs.pod, container, newest, inputs.probes),
    });
    let running = newest.is_some_and(|newest| newest.state == cri::ContainerState::Running);
    if !will_start || running || inputs.pod.metadata.deletion_timestamp.is_some() {
        return;
    }
    if let Some(state) = status.state.take()
        && state.terminated.is_some()
    {
        status.last_state = Some(state);
    }
    let message = (!error.message.is_empty()).then(|| error.message.clone());
    status.state = Some(waiting(&error.reason, message));
}

fn set_readiness(
    inputs: &Inputs<'_>,
    list: List,
    container: &Container,
    newest: Option<&cri::ContainerStatus>,
    status: &mut ContainerStatus,
) {
    let state = status.state.clone().unwrap_or_default();
    let running = newest.filter(|_| state.running.is_some());
    if list == List::Ephemeral {
        return;
    }
    let is_plain_init = list == List::Init && !pod::is_sidecar(container);
    if is_plain_init {
        status.started = Some(running.is_some());
        status.ready = state.terminated.is_some_and(|ended| ended.exit_code == 0);
        return;
    }
    status.started = Some(running.is_some_and(|run| inputs.probes.started(container, &run.id)));
    status.ready = running.is_some_and(|run| inputs.probes.ready(container, &run.id));
}

/// Whether any main container of the pod has run.
pub fn any_main_started(statuses: &[ContainerStatus]) -> bool {
    statuses.iter().any(|status| {
        let state = status.state.clone().unwrap_or_default();
        status.started == Some(true)
            || status.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
            || state.terminated.is_some()
            || state.running.is_some()
    })
}
