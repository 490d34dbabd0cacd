//! What the statuses of containers say once nothing of the pod will be started again: what has run has an end,
//! what never had its turn goes on waiting.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodStatus,
};

use crate::pod;

/// Gives an end to the containers that have none, as far as the pod had come.
pub fn close(pod: &Pod, status: &mut PodStatus) {
    let init = status.init_container_statuses.as_deref_mut().unwrap_or_default();
    let main = status.container_statuses.as_deref_mut().unwrap_or_default();
    if is_initialised(pod, init, main) {
        main.iter_mut().for_each(end);
    }
    let begun = begun(init);
    init.iter_mut().take(begun).for_each(end);
}

/// Whether main containers had their turn. Without a sign of that they have not failed: they were never started.
fn is_initialised(pod: &Pod, init: &[ContainerStatus], main: &[ContainerStatus]) -> bool {
    let Some(spec) = pod::init_containers(pod).last() else { return true };
    let Some(last) = init.last() else { return false };
    if main.iter().any(has_begun) {
        return true;
    }
    if pod::is_sidecar(spec) {
        return last.started == Some(true);
    }
    let states = [&last.state, &last.last_state];
    let mut ends = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    ends.any(|end| end.exit_code == 0)
}

/// How many init containers have had their turn: the first has in any case.
fn begun(init: &[ContainerStatus]) -> usize {
    let last = init.iter().rposition(has_begun).unwrap_or(0);
    init.len().min(last + 1)
}

fn has_begun(status: &ContainerStatus) -> bool {
    let is_waiting = status.state.as_ref().is_none_or(|state| state.waiting.is_some());
    !is_waiting || has_ended_before(status)
}

fn has_ended_before(status: &ContainerStatus) -> bool {
    status.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
}

fn end(status: &mut ContainerStatus) {
    let state = status.state.take().unwrap_or_default();
    let ended = if state.terminated.is_some() {
        state
    } else if state.waiting.is_some() && has_ended_before(status) && status.container_id.is_some() {
        // What it waited for was its next start.
        status.last_state.clone().unwrap_or_default()
    } else {
        unknown()
    };
    status.state = Some(ended);
}

fn unknown() -> ContainerState {
    let message = "The container could not be located when the pod was terminated";
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some(message.to_owned()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}
