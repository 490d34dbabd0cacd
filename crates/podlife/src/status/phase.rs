//! The phase of a pod.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use super::Inputs;
use super::container::any_main_started;
use crate::actions::is_restarted;
use crate::pod::{self, RestartPolicy};

#[derive(Default)]
struct Counts {
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
}

#[derive(Default)]
struct InitCounts {
    pending: usize,
    pending_sidecars: usize,
    failed: bool,
}

/// The phase that goes with the containers' statuses. An end once reported is never taken back.
pub fn of(inputs: &Inputs<'_>, status: &PodStatus) -> &'static str {
    match inputs.last.phase.as_deref() {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    if inputs.verdict.is_some() {
        return "Failed";
    }
    let phase = from_containers(inputs, status);
    if inputs.is_over && !matches!(phase, "Succeeded" | "Failed") {
        return "Failed";
    }
    phase
}

fn from_containers(inputs: &Inputs<'_>, status: &PodStatus) -> &'static str {
    let mut counts = Counts::default();
    let init = count_init(inputs, status, &mut counts);
    for container in &pod::spec(inputs.pod).containers {
        count_main(find(&status.container_statuses, &container.name), &mut counts);
    }
    let policy = pod::restart_policy(inputs.pod);
    if init.failed && policy == RestartPolicy::Never {
        return "Failed";
    }
    let main = status.container_statuses.as_deref().unwrap_or_default();
    let initialising = init.pending > 0 || (init.pending_sidecars > 0 && !any_main_started(main));
    if initialising || counts.waiting > 0 || counts.unknown > 0 {
        return "Pending";
    }
    if counts.running > 0 {
        return "Running";
    }
    if counts.stopped == 0 {
        return "Pending";
    }
    stopped(inputs, status, policy, &counts)
}

fn stopped(
    inputs: &Inputs<'_>,
    status: &PodStatus,
    policy: RestartPolicy,
    counts: &Counts,
) -> &'static str {
    let all_succeeded = counts.stopped == counts.succeeded;
    let ended = if all_succeeded { "Succeeded" } else { "Failed" };
    let restarts = pod::spec(inputs.pod).containers.iter().any(|container| {
        let state =
            find(&status.container_statuses, &container.name).and_then(|s| s.state.as_ref());
        match state.and_then(|state| state.terminated.as_ref()) {
            Some(ended) => {
                let id = ended.container_id.as_deref().unwrap_or_default();
                let id = id.split_once("://").map_or(id, |(_, id)| id);
                is_restarted(inputs.pod, container, inputs.probes, (id, ended.exit_code))
            }
            None => true,
        }
    });
    if inputs.is_over {
        return ended;
    }
    if policy == RestartPolicy::Always || restarts { "Running" } else { ended }
}

fn find<'a>(list: &'a Option<Vec<ContainerStatus>>, name: &str) -> Option<&'a ContainerStatus> {
    list.iter().flatten().find(|status| status.name == name)
}

fn last_exit(status: &ContainerStatus) -> Option<i32> {
    status.last_state.as_ref()?.terminated.as_ref().map(|ended| ended.exit_code)
}

fn count_init(inputs: &Inputs<'_>, status: &PodStatus, counts: &mut Counts) -> InitCounts {
    let mut init = InitCounts::default();
    for container in pod::init_containers(inputs.pod) {
        let found = find(&status.init_container_statuses, &container.name);
        match (found, pod::is_sidecar(container)) {
            (Some(found), true) => count_sidecar(found, counts, &mut init),
            (None, true) => counts.unknown += 1,
            (Some(found), false) => count_plain_init(found, &mut init),
            (None, false) => init.pending += 1,
        }
    }
    init
}

fn count_plain_init(status: &ContainerStatus, init: &mut InitCounts) {
    let state = status.state.clone().unwrap_or_default();
    if let Some(ended) = state.terminated {
        init.failed |= ended.exit_code != 0;
    } else if state.waiting.is_some() && last_exit(status).is_some() {
        init.failed |= last_exit(status) != Some(0);
        init.pending += 1;
    } else {
        init.pending += 1;
    }
}

fn count_sidecar(status: &ContainerStatus, counts: &mut Counts, init: &mut InitCounts) {
    let state = status.state.clone().unwrap_or_default();
    if state.running.is_some() {
        init.pending_sidecars += usize::from(status.started != Some(true));
        counts.running += 1;
    } else if state.waiting.is_some() && last_exit(status).is_none() {
        init.pending_sidecars += 1;
        counts.waiting += 1;
    }
}

fn count_main(status: Option<&ContainerStatus>, counts: &mut Counts) {
    let Some(status) = status else {
        counts.unknown += 1;
        return;
    };
    let state = status.state.clone().unwrap_or_default();
    if state.running.is_some() {
        counts.running += 1;
    } else if let Some(ended) = state.terminated {
        counts.stopped += 1;
        counts.succeeded += usize::from(ended.exit_code == 0);
    } else if last_exit(status).is_some() {
        counts.stopped += 1;
    } else {
        counts.waiting += 1;
    }
}
