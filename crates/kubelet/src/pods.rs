//! Which pods have a worker, and waking them: by the API, by the runtime, by anything else that matters
//! to one pod.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use client::Change;
use cri::PodSandboxFilter;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use podlife::observed::{LABEL_POD_NAME, LABEL_POD_NAMESPACE};
use podlife::pod;
use podlife::probe::ProbeResults;
use tokio::sync::{Notify, watch};

use crate::limits::POD_PAUSE_MIN;
use crate::shared::Shared;
use crate::worker::Worker;

/// An end decided outside of the worker.
#[derive(Clone, Debug)]
pub(crate) struct Sentence {
    pub(crate) verdict: podlife::status::Verdict,
    /// Seconds for the containers to end, instead of the pod's own.
    pub(crate) grace_s: i64,
}

/// What others know of a pod's worker.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Wakes the worker.
    pub(crate) wake: Notify,
    /// The pod as the worker last saw it.
    pub(crate) pod: Mutex<Option<Arc<Pod>>>,
    /// The status last generated.
    pub(crate) status: Mutex<PodStatus>,
    /// Verdicts of probes.
    pub(crate) probes: Mutex<ProbeResults>,
    /// Counts changes of the verdicts.
    pub(crate) verdicts: watch::Sender<u64>,
    /// An end decided outside of the worker (an eviction).
    pub(crate) verdict: Mutex<Option<Sentence>>,
    /// Whether a change of resources waits for room.
    pub(crate) resize_waits: AtomicBool,
}

/// The workers by UID.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    workers: Mutex<HashMap<String, Arc<Signals>>>,
    shared: OnceLock<std::sync::Weak<Shared>>,
    /// Whether what an earlier kubelet left behind was looked for.
    swept: AtomicBool,
}

impl Registry {
    pub(crate) fn bind(&self, shared: &Arc<Shared>) {
        // Bound once, when the kubelet is put together.
        let _already_bound = self.shared.set(Arc::downgrade(shared));
    }

    /// Wakes the worker of a pod, if it has one.
    pub(crate) fn wake(&self, uid: &str) {
        if let Some(signals) = self.workers.lock().get(uid) {
            signals.wake.notify_one();
        }
    }

    /// Wakes every worker.
    pub(crate) fn wake_all(&self) {
        for signals in self.workers.lock().values() {
            signals.wake.notify_one();
        }
    }

    /// Wakes the workers whose pods wait for room.
    fn wake_waiting(&self) {
        let workers = self.workers.lock();
        for signals in workers.values().filter(|it| it.resize_waits.load(Ordering::Relaxed)) {
            signals.wake.notify_one();
        }
    }

    pub(crate) fn get(&self, uid: &str) -> Option<Arc<Signals>> {
        self.workers.lock().get(uid).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Signals>> {
        self.workers.lock().values().cloned().collect()
    }

    /// Starts a worker for a pod that has none, and wakes it.
    pub(crate) fn ensure(&self, uid: &str, namespace: &str, name: &str, pod: Option<&Arc<Pod>>) {
        let Some(shared) = self.shared.get().and_then(std::sync::Weak::upgrade) else { return };
        let mut workers = self.workers.lock();
        if let Some(signals) = workers.get(uid) {
            signals.wake.notify_one();
            return;
        }
        let status = pod.and_then(|pod| pod.status.clone()).unwrap_or_default();
        let signals = Arc::new(Signals {
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            wake: Notify::new(),
            pod: Mutex::new(pod.cloned()),
            status: Mutex::new(status),
            probes: Mutex::default(),
            verdicts: watch::Sender::new(0),
            verdict: Mutex::default(),
            resize_waits: AtomicBool::new(false),
        });
        workers.insert(uid.to_owned(), Arc::clone(&signals));
        drop(workers);
        let scope = shared.scope.clone();
        scope.spawn_until_cancelled("pod worker", work(shared, signals));
    }

    /// Ends the registration of a worker that has nothing left to do.
    pub(crate) fn remove(&self, uid: &str) {
        self.workers.lock().remove(uid);
    }
}

/// Runs a worker to its end; after a panic the pod gets another one.
async fn work(shared: Arc<Shared>, signals: Arc<Signals>) {
    let worker = Worker::new(Arc::clone(&shared), Arc::clone(&signals));
    let running = std::panic::AssertUnwindSafe(worker.run());
    if futures::FutureExt::catch_unwind(running).await.is_err() {
        let (uid, namespace, name) = (&signals.uid, &signals.namespace, &signals.name);
        tracing::error!(namespace, name, "the worker of a pod panicked");
        shared.clock.sleep(POD_PAUSE_MIN).await;
        let pod = signals.pod.lock().clone();
        shared.registry.remove(uid);
        shared.registry.ensure(uid, namespace, name, pod.as_ref());
    }
}

/// Follows the API's pods of this node.
pub(crate) fn follow_api(shared: &Arc<Shared>) {
    let (registry, statuses) = (Arc::clone(&shared.registry), shared.statuses.clone());
    shared.pods.on_change(move |change| {
        let pod = change.object();
        let (uid, namespace, name) = (pod::uid(pod), pod::namespace(pod), pod::name(pod));
        match change {
            Change::Added(pod) => registry.ensure(uid, namespace, name, Some(pod)),
            Change::Updated { old, new } if pod::uid(old) != uid => {
                registry.wake(pod::uid(old));
                registry.ensure(uid, namespace, name, Some(new));
            }
            Change::Updated { old, new } => {
                statuses.seen(new);
                if matters(old, new) {
                    registry.ensure(uid, namespace, name, Some(new));
                }
            }
            Change::Deleted(_) => {
                registry.wake(uid);
                registry.wake_waiting();
            }
        }
    });
}

/// Whether an update is more than the echo of a status that was written from here.
fn matters(old: &Pod, new: &Pod) -> bool {
    let gates = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone());
        let wanted = pod::spec(pod).readiness_gates.clone().unwrap_or_default();
        let met = conditions
            .into_iter()
            .flatten()
            .filter(|condition| wanted.iter().any(|gate| gate.condition_type == condition.type_));
        met.map(|condition| (condition.type_, condition.status)).collect::<Vec<_>>()
    };
    old.spec != new.spec
        || old.metadata.labels != new.metadata.labels
        || old.metadata.annotations != new.metadata.annotations
        || old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || old.metadata.deletion_grace_period_seconds != new.metadata.deletion_grace_period_seconds
        || pod::is_finished(old) != pod::is_finished(new)
        || gates(old) != gates(new)
}

/// Follows the runtime's events, and looks at everything after a gap in them.
pub(crate) async fn follow_runtime(shared: Arc<Shared>) {
    let mut events = match shared.runtime.events().await {
        Ok(events) => events,
        Err(error) => {
            tracing::warn!(%error, "cannot follow the runtime's events");
            return;
        }
    };
    if let Err(error) = adopt(&shared).await {
        tracing::warn!(%error, "cannot list what the runtime has");
        return;
    }
    if !shared.registry.swept.swap(true, Ordering::Relaxed) {
        shared.scope.spawn_until_cancelled("sweep", crate::sweep::run(Arc::clone(&shared)));
    }
    shared.registry.wake_all();
    while let Some(event) = events.next().await {
        shared.registry.wake(&event.pod_uid);
    }
}

/// Gives a worker to every pod that the runtime has, so that those which the API no longer has end.
async fn adopt(shared: &Shared) -> cri::Result<()> {
    let sandboxes = shared.runtime.list_pod_sandboxes(&PodSandboxFilter::default()).await?;
    for sandbox in sandboxes {
        let label = |key: &str| sandbox.labels.get(key).cloned().unwrap_or_default();
        let (namespace, name) = (label(LABEL_POD_NAMESPACE), label(LABEL_POD_NAME));
        if sandbox.metadata.uid.is_empty() || namespace.is_empty() {
            continue;
        }
        let known = shared.pods.get(&namespace, &name);
        let known = known.filter(|pod| pod::uid(pod) == sandbox.metadata.uid);
        shared.registry.ensure(&sandbox.metadata.uid, &namespace, &name, known.as_ref());
    }
    Ok(())
}
