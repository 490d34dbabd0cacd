//! What to do with a pod: which sandbox, which containers to start, stop and resize.
//!
//! [`compute_pod_actions`] compares the pod with what the runtime shows. It does not know pauses: a
//! container in back-off is listed among those to start, and the caller asks
//! [`crate::backoff::Backoffs`] before it does so.

use cri::{ContainerState, ContainerStatus, PodSandboxState};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::hash;
use crate::observed::{ANNOTATION_HASH, Observed};
use crate::pod::{self, ContainerRef, RestartPolicy};
use crate::probe::{ProbeKind, ProbeResults};
use crate::resources::{self, Resize};

/// Why a container is stopped; decides the grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// Its definition changed, or a resize needs a restart.
    Changed,
    /// The liveness probe failed.
    LivenessProbe,
    /// The startup probe failed.
    StartupProbe,
    /// The runtime lost sight of it.
    Unknown,
}

/// A container to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// For the event.
    pub message: String,
    /// Why.
    pub reason: KillReason,
}

/// A running container whose limits change in place.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The limits it gets.
    pub resources: cri::LinuxContainerResources,
}

/// The plan for one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodActions {
    /// Everything of the pod is stopped first.
    pub kill_pod: bool,
    /// A sandbox is made.
    pub create_sandbox: bool,
    /// Number of the sandbox to make.
    pub attempt: u32,
    /// The sandbox in use, when it stays.
    pub sandbox_id: Option<String>,
    /// Containers to start, in this order.
    pub start: Vec<ContainerRef>,
    /// Containers to stop before anything is started.
    pub kill: Vec<Kill>,
    /// Containers to resize.
    pub update: Vec<Update>,
}

/// Whether one of the containers to start follows one that ended because its definition changed.
pub fn awaits_successor(pod: &Pod, observed: &Observed, start: &[ContainerRef]) -> bool {
    start.iter().filter_map(|reference| pod::container(pod, *reference)).any(|container| {
        observed.container(&container.name).is_some_and(|status| {
            status.state == ContainerState::Exited && is_outdated(status, &container)
        })
    })
}

/// Whether a container was made from another definition.
fn is_outdated(status: &ContainerStatus, container: &Container) -> bool {
    let hash = status.annotations.get(ANNOTATION_HASH);
    hash.is_some_and(|hash| *hash != hash::of_container(container))
}

/// See the module's text.
pub fn compute_pod_actions(
    pod: &Pod,
    observed: &Observed,
    probes: &ProbeResults,
    node: &resources::NodeFacts,
) -> PodActions {
    match usable_sandbox(pod, observed) {
        Err(attempt) => with_new_sandbox(pod, observed, attempt),
        Ok(sandbox_id) => Planner { pod, observed, probes, node, sandbox_id: &sandbox_id }.plan(),
    }
}

/// The sandbox that can stay, or the number of the one to make.
fn usable_sandbox(pod: &Pod, observed: &Observed) -> Result<String, u32> {
    let Some(newest) = observed.sandbox() else { return Err(0) };
    let next = newest.metadata.attempt + 1;
    let ready =
        observed.sandboxes.iter().filter(|sandbox| sandbox.state == PodSandboxState::Ready).count();
    if ready != 1 || newest.state != PodSandboxState::Ready {
        return Err(next);
    }
    let on_host = newest.namespaces.network == cri::NamespaceMode::Node;
    if on_host != pod::host_network(pod) {
        return Err(next);
    }
    let has_ip = newest.network.as_ref().is_some_and(|network| !network.ip.is_empty());
    if !on_host && !has_ip {
        return Err(next);
    }
    Ok(newest.id.clone())
}

fn with_new_sandbox(pod: &Pod, observed: &Observed, attempt: u32) -> PodActions {
    let kill_only = PodActions { kill_pod: true, attempt, ..PodActions::default() };
    let never = pod::restart_policy(pod) == RestartPolicy::Never;
    if never && attempt != 0 && !observed.containers.is_empty() {
        return kill_only;
    }
    let main = pod::spec(pod).containers.iter().enumerate();
    let start: Vec<ContainerRef> = main
        .filter(|(_, container)| !has_succeeded_for_good(pod, container, observed))
        .map(|(at, _)| ContainerRef::Main(at))
        .collect();
    if start.is_empty() {
        return kill_only;
    }
    let start =
        if pod::init_containers(pod).is_empty() { start } else { vec![ContainerRef::Init(0)] };
    PodActions { create_sandbox: true, start, ..kill_only }
}

fn has_succeeded_for_good(pod: &Pod, container: &Container, observed: &Observed) -> bool {
    observed.container(&container.name).is_some_and(|status| {
        status.state == ContainerState::Exited
            && status.exit_code == 0
            && !pod::restarts_after(pod, container, 0)
    })
}

struct Planner<'a> {
    pod: &'a Pod,
    observed: &'a Observed,
    probes: &'a ProbeResults,
    node: &'a resources::NodeFacts,
    sandbox_id: &'a str,
}

/// How far the init containers are.
#[derive(PartialEq)]
enum Init {
    Done,
    Going,
    Failed,
}

impl Planner<'_> {
    fn plan(&self) -> PodActions {
        let mut actions =
            PodActions { sandbox_id: Some(self.sandbox_id.to_owned()), ..PodActions::default() };
        for (at, ephemeral) in pod::ephemeral_containers(self.pod).iter().enumerate() {
            if self.observed.container(&ephemeral.name).is_none() {
                actions.start.push(ContainerRef::Ephemeral(at));
            }
        }
        match self.plan_init(&mut actions) {
            Init::Going => return actions,
            Init::Failed => {
                actions.kill_pod = true;
                actions.start.clear();
                return actions;
            }
            Init::Done => {}
        }
        let kept = self.plan_main(&mut actions);
        let starts_main =
            actions.start.iter().any(|reference| matches!(reference, ContainerRef::Main(_)));
        if kept == 0 && !starts_main {
            actions.kill_pod = true;
            actions.start.clear();
        }
        actions
    }

    fn status(&self, name: &str) -> Option<&ContainerStatus> {
        self.observed.container_in(self.sandbox_id, name)
    }

    fn is_initialised(&self) -> bool {
        pod::spec(self.pod)
            .containers
            .iter()
            .any(|container| self.status(&container.name).is_some())
    }

    fn plan_init(&self, actions: &mut PodActions) -> Init {
        let initialised = self.is_initialised();
        for (at, init) in pod::init_containers(self.pod).iter().enumerate() {
            let progress = if pod::is_sidecar(init) {
                self.plan_sidecar(at, init, initialised, actions)
            } else if initialised {
                Init::Done
            } else {
                self.plan_regular_init(at, init, actions)
            };
            if progress != Init::Done && !initialised {
                return progress;
            }
        }
        Init::Done
    }

    fn plan_regular_init(&self, at: usize, init: &Container, actions: &mut PodActions) -> Init {
        let Some(status) = self.status(&init.name) else {
            actions.start.push(ContainerRef::Init(at));
            return Init::Going;
        };
        match status.state {
            ContainerState::Running => return Init::Going,
            ContainerState::Exited if status.exit_code == 0 => return Init::Done,
            ContainerState::Exited => {
                if !pod::retries_init(self.pod, init, status.exit_code) {
                    return Init::Failed;
                }
            }
            ContainerState::Created => {}
            ContainerState::Unknown => {
                if pod::restart_policy(self.pod) == RestartPolicy::Never {
                    return Init::Failed;
                }
                actions.kill.push(kill_unknown(status, "Init container"));
            }
        }
        actions.start.push(ContainerRef::Init(at));
        Init::Going
    }

    /// `Done` here means: started, so that what follows may start too.
    fn plan_sidecar(
        &self,
        at: usize,
        sidecar: &Container,
        initialised: bool,
        actions: &mut PodActions,
    ) -> Init {
        let Some(status) = self.status(&sidecar.name) else {
            actions.start.push(ContainerRef::Init(at));
            return Init::Going;
        };
        match status.state {
            ContainerState::Running => {
                if let Some((message, reason)) = self.fault(sidecar, status, "Init container") {
                    actions.kill.push(kill(status, message, reason));
                    actions.start.push(ContainerRef::Init(at));
                    return if initialised { Init::Done } else { Init::Going };
                }
                self.plan_resize(ContainerRef::Init(at), sidecar, status, actions);
                let started = self.probes.started(sidecar, &status.id);
                return if started { Init::Done } else { Init::Going };
            }
            ContainerState::Unknown => actions.kill.push(kill_unknown(status, "Init container")),
            ContainerState::Exited | ContainerState::Created => {}
        }
        actions.start.push(ContainerRef::Init(at));
        Init::Going
    }

    /// How many containers stay as they are or are waited for.
    fn plan_main(&self, actions: &mut PodActions) -> usize {
        let mut kept = 0;
        for (at, container) in pod::spec(self.pod).containers.iter().enumerate() {
            let status = self.status(&container.name).or_else(|| {
                self.observed
                    .container(&container.name)
                    .filter(|old| old.state == ContainerState::Exited)
            });
            let Some(status) = status else {
                actions.start.push(ContainerRef::Main(at));
                continue;
            };
            if status.state != ContainerState::Running {
                if should_restart(self.pod, container, status, self.probes) {
                    actions.start.push(ContainerRef::Main(at));
                    if status.state == ContainerState::Unknown {
                        actions.kill.push(kill_unknown(status, "Container"));
                    }
                }
                continue;
            }
            kept += self.plan_running(at, container, status, actions);
        }
        kept
    }

    fn plan_running(
        &self,
        at: usize,
        container: &Container,
        status: &ContainerStatus,
        actions: &mut PodActions,
    ) -> usize {
        let Some((message, reason)) = self.fault(container, status, "Container") else {
            self.plan_resize(ContainerRef::Main(at), container, status, actions);
            return 1;
        };
        let restart =
            reason == KillReason::Changed || pod::restarts_after(self.pod, container, KILLED);
        let message = if restart { format!("{message}, will be restarted") } else { message };
        actions.kill.push(kill(status, message, reason));
        if restart {
            actions.start.push(ContainerRef::Main(at));
        }
        // One that is only stopped shows its end as an event; the pod goes on until then.
        usize::from(!restart)
    }

    fn fault(
        &self,
        container: &Container,
        status: &ContainerStatus,
        title: &str,
    ) -> Option<(String, KillReason)> {
        let name = &container.name;
        if is_outdated(status, container) {
            return Some((format!("{title} {name} definition changed"), KillReason::Changed));
        }
        if container.liveness_probe.is_some() && self.probes.failed(&status.id, ProbeKind::Liveness)
        {
            return Some((
                format!("{title} {name} failed liveness probe"),
                KillReason::LivenessProbe,
            ));
        }
        if container.startup_probe.is_some() && self.probes.failed(&status.id, ProbeKind::Startup) {
            return Some((
                format!("{title} {name} failed startup probe"),
                KillReason::StartupProbe,
            ));
        }
        None
    }

    fn plan_resize(
        &self,
        reference: ContainerRef,
        container: &Container,
        status: &ContainerStatus,
        actions: &mut PodActions,
    ) {
        match resources::resize(self.pod, container, status, self.node) {
            Resize::None => {}
            Resize::InPlace(limits) => actions.update.push(Update {
                id: status.id.clone(),
                name: container.name.clone(),
                resources: *limits,
            }),
            Resize::Restart => {
                let message = format!("Container {} resize requires restart", container.name);
                actions.kill.push(kill(status, message, KillReason::Changed));
                actions.start.push(reference);
            }
        }
    }
}

fn kill(status: &ContainerStatus, message: String, reason: KillReason) -> Kill {
    Kill { id: status.id.clone(), name: status.metadata.name.clone(), message, reason }
}

fn kill_unknown(status: &ContainerStatus, title: &str) -> Kill {
    let message = format!("{title} is in \"unknown\" state, try killing it before restart");
    kill(status, message, KillReason::Unknown)
}

/// The exit code of a container that was killed.
const KILLED: i32 = 137;

/// Whether a container that exited is started again. One that a probe has ended has failed, whatever code it left with.
pub(crate) fn is_restarted(
    pod: &Pod,
    container: &Container,
    probes: &ProbeResults,
    (id, exit_code): (&str, i32),
) -> bool {
    let failed = probes.failed(id, ProbeKind::Liveness) || probes.failed(id, ProbeKind::Startup);
    pod::restarts_after(pod, container, exit_code)
        || failed && pod::restarts_after(pod, container, KILLED)
}

/// Whether a container that is not running is started again.
pub fn should_restart(
    pod: &Pod,
    container: &Container,
    status: &ContainerStatus,
    probes: &ProbeResults,
) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return false;
    }
    match status.state {
        ContainerState::Running => false,
        ContainerState::Created | ContainerState::Unknown => true,
        ContainerState::Exited => {
            is_restarted(pod, container, probes, (&status.id, status.exit_code))
        }
    }
}

#[cfg(test)]
mod tests;
