//! The probes of a pod's containers: one task for each, as long as its container runs.

pub(crate) mod exec;
pub(crate) mod grpc;
pub(crate) mod http;
mod redirect;
pub(crate) mod target;
pub(crate) mod tcp;

use std::collections::HashMap;
use std::sync::Arc;

use client::EventKind;
use cri::ContainerStatus;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use podlife::pod::{self, ContainerRef};
use podlife::probe::{self, Outcome, ProbeKind, Schedule, Streak};
use tokio::task::JoinHandle;

use crate::limits::PROBE_TRIES_MAX;
use crate::pods::Signals;
use crate::shared::Shared;

/// A running container and everything around it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) signals: &'a Arc<Signals>,
    pub(crate) pod: &'a Arc<Pod>,
    pub(crate) reference: ContainerRef,
    pub(crate) container: &'a Container,
    pub(crate) status: &'a ContainerStatus,
    pub(crate) pod_ip: &'a str,
}

/// The tasks of one pod's probes.
#[derive(Debug, Default)]
pub(crate) struct PodProbes {
    tasks: HashMap<(String, ProbeKind), JoinHandle<()>>,
}

impl Drop for PodProbes {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

impl PodProbes {
    /// Ends the probes of containers that `keep` does not want.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.tasks.retain(|(id, _), task| {
            let keep = keep(id);
            if !keep {
                task.abort();
            }
            keep
        });
    }

    /// Makes sure that every probe of the container has its task. While the pod is being stopped, only
    /// its readiness counts.
    pub(crate) fn follow(&mut self, place: &Place<'_>, stopping: bool) {
        for kind in ProbeKind::ALL {
            let key = (place.status.id.clone(), kind);
            if stopping && kind != ProbeKind::Readiness {
                if let Some(task) = self.tasks.remove(&key) {
                    task.abort();
                }
                continue;
            }
            let Some(probe) = kind.of(place.container) else { continue };
            if stopping || self.tasks.contains_key(&key) {
                continue;
            }
            self.tasks.insert(key, spawn(place, kind, probe.clone()));
        }
    }
}

/// One probe of one container.
struct Prober {
    shared: Arc<Shared>,
    signals: Arc<Signals>,
    pod: Arc<Pod>,
    reference: ContainerRef,
    container: Container,
    id: String,
    pod_ip: String,
    started: Timestamp,
    kind: ProbeKind,
    probe: Probe,
}

fn spawn(place: &Place<'_>, kind: ProbeKind, probe: Probe) -> JoinHandle<()> {
    let started = i128::from(place.status.started_at);
    let prober = Prober {
        shared: Arc::clone(place.shared),
        signals: Arc::clone(place.signals),
        pod: Arc::clone(place.pod),
        reference: place.reference,
        container: place.container.clone(),
        id: place.status.id.clone(),
        pod_ip: place.pod_ip.to_owned(),
        started: Timestamp::from_nanosecond(started).unwrap_or_else(|_| place.shared.clock.now()),
        kind,
        probe,
    };
    place.shared.scope.spawn_until_cancelled("probe", prober.run())
}

impl Prober {
    async fn run(self) {
        let schedule = Schedule::of(&self.probe);
        let mut streak = Streak::default();
        self.shared.clock.sleep_until(schedule.first_run(self.started)).await;
        let mut verdicts = self.signals.verdicts.subscribe();
        loop {
            verdicts.mark_unchanged();
            let due = {
                let results = self.signals.probes.lock();
                probe::runs(self.kind, &self.container, &self.id, &results)
            };
            match (due, self.kind) {
                (true, _) => {
                    self.run_once(&schedule, &mut streak).await;
                    self.shared.clock.sleep(schedule.period).await;
                }
                (false, ProbeKind::Startup) => return,
                // The startup probe has not spoken yet.
                (false, _) => {
                    if verdicts.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn run_once(&self, schedule: &Schedule, streak: &mut Streak) {
        let outcome = self.ask(schedule).await;
        if let Some((reason, message)) = outcome.event(self.kind) {
            self.event(reason, message);
        }
        let Some(success) = outcome.success() else { return };
        if let Some(verdict) = streak.add(success, schedule) {
            let changed = self.signals.probes.lock().set(&self.id, self.kind, verdict);
            if changed {
                self.signals.verdicts.send_modify(|count| *count += 1);
                self.signals.wake.notify_one();
            }
        }
    }

    fn event(&self, reason: &str, message: String) {
        let place = (self.reference, self.container.name.as_str());
        self.shared.events.container(&self.pod, place, EventKind::Warning, reason, message);
    }

    async fn ask(&self, schedule: &Schedule) -> Outcome {
        let mut outcome = self.ask_once(schedule).await;
        for _ in 1..PROBE_TRIES_MAX {
            if !matches!(outcome, Outcome::Errored { .. }) {
                break;
            }
            outcome = self.ask_once(schedule).await;
        }
        outcome
    }

    async fn ask_once(&self, schedule: &Schedule) -> Outcome {
        let (probe, limit) = (&self.probe, schedule.timeout);
        if let Some(action) = &probe.exec {
            let command = exec::command(action, &self.container);
            return exec::run(&*self.shared.runtime, &self.id, command, limit).await;
        }
        if let Some(action) = &probe.http_get {
            return http::probe(action, &self.container, &self.pod_ip, limit).await;
        }
        if let Some(action) = &probe.tcp_socket {
            return tcp::probe(action, &self.container, &self.pod_ip, limit).await;
        }
        if let Some(action) = &probe.grpc {
            return grpc::probe(action, &self.pod_ip, limit, &self.shared.clock).await;
        }
        let (pod, container) = (pod::described(&self.pod), &self.container.name);
        Outcome::unknown(format!("missing probe handler for {pod}:{container}"))
    }
}
