//! The conditions of a pod that the kubelet answers for; those of others are kept.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};

use super::{Cause, Inputs, seconds};
use crate::pod;

const OWNED: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
];

struct Verdict {
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

const YES: Verdict = Verdict { status: true, reason: None, message: None };

fn no(reason: &'static str, message: Option<String>) -> Verdict {
    Verdict { status: false, reason: Some(reason), message }
}

/// All conditions: the kubelet's, then those of others. `status` has everything but conditions.
pub fn of(inputs: &Inputs<'_>, status: &PodStatus) -> Vec<PodCondition> {
    let containers = containers_ready(inputs, status);
    let ready = ready(inputs, &containers);
    let owned = [
        ("PodReadyToStartContainers", ready_to_start(inputs)),
        ("Initialized", initialized(inputs, status)),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", YES),
    ];
    let mut all: Vec<PodCondition> =
        owned.into_iter().map(|(name, verdict)| condition(inputs, name, verdict)).collect();
    if let Some(verdict) = inputs.verdict.filter(|verdict| verdict.cause == Cause::Node) {
        let message = Some(verdict.message.clone());
        let verdict = Verdict { status: true, reason: Some("TerminationByKubelet"), message };
        all.push(condition(inputs, "DisruptionTarget", verdict));
    }
    if let Some(resize) = inputs.resize {
        let message = Some(resize.message.clone());
        let verdict = Verdict { status: true, reason: Some(resize.reason), message };
        all.push(condition(inputs, "PodResizePending", verdict));
    }
    let mut others = of_others(inputs);
    others.retain(|other| all.iter().all(|have| have.type_ != other.type_));
    all.extend(others);
    all
}

/// The conditions that others answer for, each once.
pub fn of_others(inputs: &Inputs<'_>) -> Vec<PodCondition> {
    let known = inputs.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let others = known.into_iter().chain(&inputs.last.conditions).flatten();
    let mut all: Vec<PodCondition> = Vec::new();
    for other in others.filter(|other| !OWNED.contains(&other.type_.as_str())) {
        if all.iter().all(|have| have.type_ != other.type_) {
            all.push(other.clone());
        }
    }
    all
}

fn condition(inputs: &Inputs<'_>, name: &str, verdict: Verdict) -> PodCondition {
    let status = if verdict.status { "True" } else { "False" };
    let own = inputs.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let last = inputs.last.conditions.as_ref().or(own).into_iter().flatten();
    let before = last.into_iter().find(|before| before.type_ == name && before.status == status);
    PodCondition {
        type_: name.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_transition_time: before
            .and_then(|before| before.last_transition_time.clone())
            .or_else(|| Some(seconds(inputs.now))),
        observed_generation: inputs.pod.metadata.generation,
        last_probe_time: None,
    }
}

fn is_finished(phase: &str, status: &PodStatus) -> bool {
    status.phase.as_deref() == Some(phase)
}

fn ready_to_start(inputs: &Inputs<'_>) -> Verdict {
    let has_sandbox = inputs.observed.ready_sandbox().is_some_and(|sandbox| {
        pod::host_network(inputs.pod)
            || sandbox.network.as_ref().is_some_and(|network| !network.ip.is_empty())
    });
    Verdict { status: has_sandbox, reason: None, message: None }
}

/// Lists names as Go prints a slice.
fn names(prefix: &str, names: &[&str]) -> String {
    format!("{prefix}: [{}]", names.join(" "))
}

fn initialized(inputs: &Inputs<'_>, status: &PodStatus) -> Verdict {
    if is_finished("Succeeded", status) {
        return Verdict { status: true, reason: Some("PodCompleted"), message: None };
    }
    let statuses = status.init_container_statuses.as_deref().unwrap_or_default();
    let main = status.container_statuses.as_deref().unwrap_or_default();
    let past = main.iter().any(|container| container.container_id.is_some());
    let incomplete: Vec<&str> = pod::init_containers(inputs.pod)
        .iter()
        .zip(statuses)
        .filter(|(spec, have)| !is_initialised(pod::is_sidecar(spec), have))
        .map(|(spec, _)| spec.name.as_str())
        .collect();
    if incomplete.is_empty() || past {
        return YES;
    }
    let message = names("containers with incomplete status", &incomplete);
    no("ContainersNotInitialized", Some(message))
}

fn is_initialised(sidecar: bool, status: &ContainerStatus) -> bool {
    if sidecar { status.started == Some(true) } else { status.ready }
}

fn containers_ready(inputs: &Inputs<'_>, status: &PodStatus) -> Verdict {
    if is_finished("Succeeded", status) {
        return no("PodCompleted", None);
    }
    if is_finished("Failed", status) {
        return no("PodFailed", None);
    }
    let init = status.init_container_statuses.as_deref().unwrap_or_default();
    let sidecars = pod::init_containers(inputs.pod)
        .iter()
        .zip(init)
        .filter(|(spec, _)| pod::is_sidecar(spec))
        .map(|(_, have)| have);
    let main = status.container_statuses.iter().flatten();
    let unready: Vec<&str> =
        sidecars.chain(main).filter(|have| !have.ready).map(|have| have.name.as_str()).collect();
    if unready.is_empty() {
        return YES;
    }
    no("ContainersNotReady", Some(names("containers with unready status", &unready)))
}

fn ready(inputs: &Inputs<'_>, containers: &Verdict) -> Verdict {
    if !containers.status {
        return Verdict {
            status: false,
            reason: containers.reason,
            message: containers.message.clone(),
        };
    }
    let gates = pod::spec(inputs.pod).readiness_gates.iter().flatten();
    let known = inputs.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let holds = |gate: &str| {
        let found = known.into_iter().flatten().find(|condition| condition.type_ == gate);
        match found {
            None => Some(format!(
                "corresponding condition of pod readiness gate \"{gate}\" does not exist."
            )),
            Some(found) if found.status != "True" => Some(format!(
                "the status of pod readiness gate \"{gate}\" is not \"True\", but {}",
                found.status
            )),
            Some(_) => None,
        }
    };
    let unmet: Vec<String> = gates.filter_map(|gate| holds(&gate.condition_type)).collect();
    if unmet.is_empty() { YES } else { no("ReadinessGatesNotReady", Some(unmet.join(", "))) }
}
