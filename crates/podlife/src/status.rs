//! The status of a pod that users read, made from the pod, what the runtime shows of it, and what the
//! kubelet remembers of its own tries.

pub mod conditions;
pub mod container;
pub mod end;
pub mod phase;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::observed::Observed;
use crate::probe::ProbeResults;
use crate::{pod, qos};

/// Why a container could not be started: the reason and message of its waiting state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// `ErrImagePull`, `CrashLoopBackOff` …
    pub reason: String,
    /// Details for a person.
    pub message: String,
}

impl StartError {
    /// An error of that kind.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into() }
    }
}

/// Whose doing an end is that the kubelet itself has decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The pod was not let in: nothing of it was ever started, so its status says nothing of containers.
    Admission,
    /// The node has too little of something. Whoever counts disruptions is told by a condition.
    Node,
    /// The pod itself: its time is up, or it took more than it may.
    Pod,
}

/// An end that the kubelet itself has decided on: a deadline, an eviction, a refused admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whose doing it is.
    pub cause: Cause,
    /// `DeadlineExceeded`, `Evicted`, `OutOfcpu` …
    pub reason: String,
    /// Details for a person.
    pub message: String,
}

/// A change of resources that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingResize {
    /// `Deferred`: there is no room now; `Infeasible`: there never will be.
    pub reason: &'static str,
    /// Details for a person.
    pub message: String,
}

/// What a status is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The pod with its last known status.
    pub pod: &'a Pod,
    /// The status that was last generated; the pod's own is older.
    pub last: &'a PodStatus,
    /// What the runtime shows.
    pub observed: &'a Observed,
    /// Verdicts of probes.
    pub probes: &'a ProbeResults,
    /// Why containers could not be started, by name.
    pub start_errors: &'a BTreeMap<String, StartError>,
    /// Why containers ended, by id: their termination messages.
    pub messages: &'a BTreeMap<String, String>,
    /// Names of the running containers whose post-start hook has not ended: shown as being created.
    pub hook_pending: &'a [String],
    /// An end decided by the kubelet: told once nothing runs any more.
    pub verdict: Option<&'a Verdict>,
    /// A change of resources that waits.
    pub resize: Option<&'a PendingResize>,
    /// Whether everything was stopped for good, so that nothing will be started again.
    pub is_over: bool,
    /// The node's addresses, the primary one first.
    pub host_ips: &'a [String],
    /// Name of the runtime, the scheme of container ids.
    pub runtime_name: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// See the module's text.
pub fn generate(inputs: &Inputs<'_>) -> PodStatus {
    if let Some(verdict) = inputs.verdict.filter(|verdict| verdict.cause == Cause::Admission) {
        return refused(inputs, verdict);
    }
    // Who counts on a pod that failed to have let go of its node may not be told while something still runs.
    let inputs = &Inputs { verdict: inputs.verdict.filter(|_| inputs.is_over), ..*inputs };
    match ended_unseen(inputs) {
        Some(status) => status.clone(),
        None => of_containers(inputs),
    }
}

/// What a status says of a pod before anything is known of its containers.
fn without_containers(inputs: &Inputs<'_>) -> PodStatus {
    PodStatus {
        qos_class: Some(qos::class(inputs.pod).text().to_owned()),
        start_time: Some(inputs.last.start_time.clone().unwrap_or_else(|| seconds(inputs.now))),
        observed_generation: inputs.pod.metadata.generation,
        nominated_node_name: inputs.last.nominated_node_name.clone(),
        resource_claim_statuses: inputs.last.resource_claim_statuses.clone(),
        ..PodStatus::default()
    }
}

fn refused(inputs: &Inputs<'_>, verdict: &Verdict) -> PodStatus {
    PodStatus {
        phase: Some("Failed".to_owned()),
        reason: Some(verdict.reason.clone()),
        message: Some(verdict.message.clone()),
        conditions: some(conditions::of_others(inputs)),
        ..without_containers(inputs)
    }
}

/// The status of a pod that has ended before anything of it was started: refused by the kubelet before this
/// one, or ended by somebody else. There is nothing to add to it.
fn ended_unseen<'a>(inputs: &Inputs<'a>) -> Option<&'a PodStatus> {
    let status = inputs.pod.status.as_ref().filter(|_| pod::is_finished(inputs.pod))?;
    let lists = [&status.init_container_statuses, &status.container_statuses];
    (lists.into_iter().flatten().flatten().next().is_none() && inputs.observed.is_empty())
        .then_some(status)
}

fn of_containers(inputs: &Inputs<'_>) -> PodStatus {
    let mut status = PodStatus {
        init_container_statuses: some(container::statuses(inputs, container::List::Init)),
        container_statuses: some(container::statuses(inputs, container::List::Main)),
        ephemeral_container_statuses: some(container::statuses(inputs, container::List::Ephemeral)),
        ..without_containers(inputs)
    };
    if inputs.is_over {
        end::close(inputs.pod, &mut status);
    }
    let phase = phase::of(inputs, &status);
    status.phase = Some(phase.to_owned());
    if let Some(verdict) = inputs.verdict {
        status.reason = Some(verdict.reason.clone());
        status.message = Some(verdict.message.clone());
    } else if matches!(phase, "Succeeded" | "Failed") {
        status.reason.clone_from(&inputs.last.reason);
        status.message.clone_from(&inputs.last.message);
    }
    set_addresses(&mut status, inputs);
    status.conditions = Some(conditions::of(inputs, &status));
    status
}

fn set_addresses(status: &mut PodStatus, inputs: &Inputs<'_>) {
    let hosts = inputs.host_ips;
    status.host_ip = hosts.first().cloned();
    status.host_ips = some(hosts.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
    let mut ips = inputs.observed.ips();
    if pod::host_network(inputs.pod) {
        ips = hosts.to_vec();
    } else if ips.is_empty() {
        // The addresses of a pod that has ended stay readable.
        let last = inputs.last.pod_ips.iter().flatten();
        ips = last.map(|ip| ip.ip.clone()).collect();
    }
    status.pod_ip = ips.first().cloned();
    status.pod_ips = some(ips.into_iter().map(|ip| PodIP { ip }).collect());
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// A time as the API keeps it: whole seconds.
pub fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// A runtime's time, in nanoseconds since 1970, as the API keeps it.
pub fn from_nanos(nanos: i64) -> Option<Time> {
    if nanos <= 0 {
        return None;
    }
    Timestamp::from_second(nanos.div_euclid(1_000_000_000)).ok().map(Time)
}

#[cfg(test)]
mod tests;
