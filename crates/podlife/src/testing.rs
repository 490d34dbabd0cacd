//! Builders that make a test case one line.

use cri::{ContainerState, ContainerStatus, PodSandboxState, PodSandboxStatus};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::observed::{ANNOTATION_HASH, ANNOTATION_RESTARTS};

/// A pod `p` in `ns` with that spec.
pub(crate) fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec,
    }))
    .unwrap()
}

/// A ready sandbox of that attempt, with an address.
pub(crate) fn sandbox(attempt: u32) -> PodSandboxStatus {
    let mut status = PodSandboxStatus {
        id: format!("s{attempt}"),
        state: PodSandboxState::Ready,
        network: Some(cri::PodSandboxNetworkStatus { ip: "10.0.0.9".into(), ..Default::default() }),
        ..Default::default()
    };
    status.metadata.attempt = attempt;
    status
}

/// A container `name` in sandbox `s0`, its id being `<name>-<restarts>`.
pub(crate) fn container(
    name: &str,
    restarts: u32,
    state: ContainerState,
    exit: i32,
) -> ContainerStatus {
    let mut status = ContainerStatus {
        id: format!("{name}-{restarts}"),
        pod_sandbox_id: "s0".into(),
        state,
        exit_code: exit,
        created_at: i64::from(restarts) * 1_000_000_000,
        started_at: i64::from(restarts) * 1_000_000_000,
        finished_at: if state == ContainerState::Exited {
            i64::from(restarts + 1) * 1_000_000_000
        } else {
            0
        },
        reason: match (state, exit) {
            (ContainerState::Exited, 0) => "Completed".into(),
            (ContainerState::Exited, _) => "Error".into(),
            _ => String::new(),
        },
        ..Default::default()
    };
    status.metadata.name = name.into();
    status.metadata.attempt = restarts;
    status.annotations.insert(ANNOTATION_RESTARTS.into(), restarts.to_string());
    status
}

/// Gives a status the hash that its container has in `pod`.
pub(crate) fn hashed(mut status: ContainerStatus, pod: &Pod) -> ContainerStatus {
    if let Some((_, container)) = crate::pod::find(pod, &status.metadata.name) {
        let hash = crate::hash::of_container(&container);
        status.annotations.insert(ANNOTATION_HASH.into(), hash);
    }
    status
}
