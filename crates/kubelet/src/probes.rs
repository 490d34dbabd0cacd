//! The probes of a pod's containers: one task for each, as long as its container runs.

pub(crate) mod exec;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod target;
pub(crate) mod tcp;

use std::collections::HashMap;
use std::sync::Arc;

use client::EventKind;
use cri::ContainerStatus;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use podlife::pod::ContainerRef;
use podlife::probe::{self, ProbeKind, Schedule, Streak};
use tokio::task::JoinHandle;

use crate::pods::Signals;
use crate::shared::Shared;

/// What one run of a probe says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure(String),
    /// It could not be run; counts as neither.
    Unknown(String),
}

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
        let success = match outcome {
            Outcome::Success => true,
            Outcome::Failure(output) => {
                let message = format!("{} probe failed: {output}", self.kind.text());
                self.event("Unhealthy", message);
                false
            }
            Outcome::Unknown(error) => {
                let message = format!("{} probe errored: {error}", self.kind.text());
                self.event("Unhealthy", message);
                return;
            }
        };
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
        let probe = &self.probe;
        if let Some(action) = &probe.exec {
            let command = action.command.clone().unwrap_or_default();
            return exec::run(&*self.shared.runtime, &self.id, command, schedule.timeout).await;
        }
        let asked = async {
            if let Some(action) = &probe.http_get {
                return http::probe(action, &self.container, &self.pod_ip).await;
            }
            if let Some(action) = &probe.tcp_socket {
                return tcp::probe(action, &self.container, &self.pod_ip).await;
            }
            if let Some(action) = &probe.grpc {
                return grpc::probe(action, &self.pod_ip).await;
            }
            Outcome::Unknown("missing probe handler".to_owned())
        };
        match tokio::time::timeout(schedule.timeout, asked).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Failure(self.timed_out(schedule)),
        }
    }

    fn timed_out(&self, schedule: &Schedule) -> String {
        let limit = podlife::backoff::go_duration(schedule.timeout);
        if let Some(action) = &self.probe.http_get
            && let Ok(request) = http::Request::of(action, &self.container, &self.pod_ip)
        {
            return format!(
                "Get \"{}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                request.url()
            );
        }
        if self.probe.grpc.is_some() {
            return format!("timeout: failed to connect service within {limit}");
        }
        "i/o timeout".to_owned()
    }
}
