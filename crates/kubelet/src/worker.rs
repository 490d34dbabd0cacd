//! The worker of one pod: it looks at the pod and at the runtime, plans with `podlife`, and acts.
//!
//! It never waits for anything slow: pulls, hooks, probes and stopping containers are tasks of their own
//! that wake it at their end. Every wake-up is a full look, so none can be missed or wrong.

pub(crate) mod collect;
pub(crate) mod live;
pub(crate) mod report;
pub(crate) mod resize;
pub(crate) mod start;
pub(crate) mod stop;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cri::PodSandboxFilter;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use podlife::backoff::Backoffs;
use podlife::observed::{Observed, pod_labels};
use podlife::pod;
use podlife::status::{PendingResize, StartError, Verdict};

use crate::hooks::HookRun;
use crate::limits::{POD_PAUSE_MAX, POD_PAUSE_MIN};
use crate::pods::Signals;
use crate::probes::PodProbes;
use crate::pulls::PodPulls;
use crate::shared::Shared;
use crate::volumes::VolumeSet;

/// How far the pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It runs or is to run.
    Live,
    /// Its containers are being stopped for good.
    Stopping,
    /// Nothing of it runs and nothing will.
    Stopped,
}

/// What the worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A wake-up.
    Wake,
    /// A wake-up, or this time.
    At(Timestamp),
    /// Nothing: the pod is gone.
    Gone,
}

impl Next {
    fn sooner(self, other: Option<Timestamp>) -> Self {
        match (self, other) {
            (Self::Gone, _) => Self::Gone,
            (next, None) => next,
            (Self::Wake, Some(at)) => Self::At(at),
            (Self::At(have), Some(at)) => Self::At(have.min(at)),
        }
    }
}

/// See the module's text.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    signals: Arc<Signals>,
    /// The pod as the API last had it.
    pod: Arc<Pod>,
    /// Whether the API no longer has it.
    gone: bool,
    stage: Stage,
    admitted: bool,
    /// Whether the verdicts of an earlier kubelet were taken over.
    inherited: bool,
    /// The resources that containers were granted, by name.
    allocated: Option<resize::Allocated>,
    /// A change of resources that waits for room.
    resize: Option<PendingResize>,
    observed: Observed,
    verdict: Option<Verdict>,
    start_errors: BTreeMap<String, StartError>,
    backoffs: Backoffs,
    pulls: PodPulls,
    probes: PodProbes,
    hooks: HashMap<String, HookRun>,
    kills: HashMap<String, stop::KillRun>,
    /// When the pod began to be stopped, and how long it has.
    stopping_since: Option<(Timestamp, i64)>,
    volumes: VolumeSet,
    messages: BTreeMap<String, String>,
    failures: u32,
    deleted: bool,
    cleaned: bool,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, signals: Arc<Signals>) -> Self {
        let pod = signals.pod.lock().clone().unwrap_or_else(|| Arc::new(unknown_pod(&signals)));
        Self {
            shared,
            signals,
            pod,
            gone: false,
            stage: Stage::Live,
            admitted: false,
            inherited: false,
            allocated: None,
            resize: None,
            observed: Observed::default(),
            verdict: None,
            start_errors: BTreeMap::new(),
            backoffs: Backoffs::default(),
            pulls: PodPulls::default(),
            probes: PodProbes::default(),
            hooks: HashMap::new(),
            kills: HashMap::new(),
            stopping_since: None,
            volumes: VolumeSet::default(),
            messages: BTreeMap::new(),
            failures: 0,
            deleted: false,
            cleaned: false,
        }
    }

    /// Works until the pod is gone everywhere.
    pub(crate) async fn run(mut self) {
        // Before the API's pods are known, nothing can be said of a pod that is not among them.
        self.shared.pods.synced().await;
        loop {
            let next = match self.sync().await {
                Next::Gone => break,
                next => next,
            };
            let woken = self.signals.wake.notified();
            match next {
                Next::At(at) => tokio::select! {
                    () = woken => {}
                    () = self.shared.clock.sleep_until(at) => {}
                },
                _ => woken.await,
            }
        }
        self.forget();
    }

    fn forget(&self) {
        let uid = &self.signals.uid;
        self.shared.statuses.forget(uid);
        self.shared.tokens.forget(uid);
        self.shared.references.set(&self.signals.namespace, uid, &Default::default());
        self.shared.registry.remove(uid);
    }

    async fn sync(&mut self) -> Next {
        self.refresh_pod();
        if let Err(error) = self.observe().await {
            tracing::warn!(pod = %pod::described(&self.pod), %error, "cannot look at a pod");
            return Next::At(self.after_failure());
        }
        if !self.inherited {
            self.inherited = true;
            self.inherit_verdicts();
        }
        if self.stage == Stage::Live {
            self.decide_end();
        }
        match self.stage {
            Stage::Live => self.sync_live().await,
            Stage::Stopping => self.sync_stopping().await,
            Stage::Stopped => self.sync_stopped().await,
        }
    }

    fn refresh_pod(&mut self) {
        let found = self.shared.pods.get(&self.signals.namespace, &self.signals.name);
        match found.filter(|pod| pod::uid(pod) == self.signals.uid) {
            Some(pod) => {
                *self.signals.pod.lock() = Some(Arc::clone(&pod));
                self.pod = pod;
                self.allocate();
            }
            None => {
                self.gone = true;
                self.signals.pod.lock().take();
            }
        }
    }

    /// Reads everything that the runtime has of the pod.
    async fn observe(&mut self) -> cri::Result<()> {
        let filter = PodSandboxFilter {
            label_selector: pod_labels(&self.signals.uid),
            ..PodSandboxFilter::default()
        };
        let (mut sandboxes, mut containers) = (Vec::new(), Vec::new());
        for sandbox in self.shared.runtime.list_pod_sandboxes(&filter).await? {
            match self.shared.runtime.pod_sandbox_status(&sandbox.id).await {
                Ok(answer) => {
                    sandboxes.push(answer.status);
                    containers.extend(answer.containers_statuses);
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        self.observed = Observed::new(sandboxes, containers);
        self.read_messages();
        self.forget_ended();
        Ok(())
    }

    /// Drops what is remembered of containers that no longer run.
    fn forget_ended(&mut self) {
        let running: Vec<String> =
            self.observed.running().map(|container| container.id.clone()).collect();
        self.signals.probes.lock().retain(|id| running.iter().any(|it| it == id));
        self.probes.retain(|id| running.iter().any(|it| it == id));
        self.kills.retain(|id, kill| running.contains(id) || !kill.is_finished());
        let known = &self.observed.containers;
        self.messages.retain(|id, _| known.iter().any(|container| container.id == *id));
    }

    /// The pause after something failed, growing with every failure in a row.
    fn after_failure(&mut self) -> Timestamp {
        let pause = POD_PAUSE_MIN.saturating_mul(1 << self.failures.min(10)).min(POD_PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.after(pause)
    }

    fn after(&self, pause: Duration) -> Timestamp {
        let now = self.shared.clock.now();
        now.checked_add(pause).unwrap_or(now)
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Wakes this worker from elsewhere.
    fn waker(&self) -> impl FnOnce() + Send + 'static {
        let signals = Arc::clone(&self.signals);
        move || signals.wake.notify_one()
    }
}

/// Stands for a pod of which only the runtime's labels are left.
fn unknown_pod(signals: &Signals) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.uid = Some(signals.uid.clone());
    pod.metadata.name = Some(signals.name.clone());
    pod.metadata.namespace = Some(signals.namespace.clone());
    pod
}
