//! Jobs run pods to their end, and count each exactly once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use client::{Change, Client, Informer, Outcome, Recorder, Subject, WorkQueue, run_workers};
use clock::Clock;
use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use reconcile::job::backoff::Backoff;
use reconcile::job::facts::{TRACKING, is_finished, is_managed_elsewhere, is_tracked};
use reconcile::job::{Snapshot, Tracking, decide};
use reconcile::note::Note;
use reconcile::{labels, pods};
use serde_json::json;

use crate::Context;
use crate::claims::claim_all;
use crate::dependents::{Dependents, Seen, follow};
use crate::expectations::Expectations;
use crate::kinds::{name_of, namespace_of, not_found};
use crate::limits::{WORKERS, WRITES_IN_FLIGHT_MAX};
use crate::notes::tell;
use crate::pod_control::PodControl;

type Key = (String, String);

/// What is remembered of a Job between rounds; losing it costs nothing but a pause.
#[derive(Default)]
struct Memory {
    backoff: Backoff,
    /// Pods whose finalizer was removed, until that is seen.
    released: BTreeSet<String>,
}

type Memories = Arc<Mutex<HashMap<String, Memory>>>;

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let left_behind: WorkQueue<Key> = WorkQueue::new();
    let expectations = Expectations::default();
    let memories = Memories::default();
    let jobs = context.client.informer::<Job>();
    let pods = context.client.informer::<Pod>();
    let seeing = Seeing {
        queue: queue.clone(),
        left_behind: left_behind.clone(),
        expectations: expectations.clone(),
        memories: Arc::clone(&memories),
        jobs: jobs.clone(),
    };
    let dependents = follow(&pods, "batch", "Job", move |seen| seeing.see(seen));
    let (adding, leaving) = (queue.clone(), left_behind.clone());
    let (forgetting, remembered) = (expectations.clone(), Arc::clone(&memories));
    let owned = dependents.clone();
    jobs.on_change(move |change| {
        let job = change.object();
        adding.add((namespace_of(&**job), name_of(&**job)));
        if matches!(change, Change::Deleted(_)) {
            forgetting.forget(pods::uid(&job.metadata));
            remembered.lock().remove(pods::uid(&job.metadata));
        }
        if matches!(change, Change::Deleted(_)) || is_finished(job) {
            for pod in owned.of(&job.metadata) {
                leaving.add((namespace_of(&*pod), name_of(&*pod)));
            }
        }
    });
    let (client, clock) = (context.client.clone(), context.clock.clone());
    let recorder = Recorder::start(&client, clock.clone(), "job-controller", "", &context.scope);
    let control = PodControl { client: client.clone(), recorder, expectations };
    let worker = Worker { client, clock, jobs, pods, dependents, control, memories };
    let leaver = worker.clone();
    run_workers(&context.scope, "job controller", WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key.0, &key.1).await }
    });
    run_workers(&context.scope, "job pod release", WORKERS, &left_behind, move |key| {
        let worker = leaver.clone();
        async move { worker.leave(&key.0, &key.1).await }
    });
}

/// What each change of a pod means.
struct Seeing {
    queue: WorkQueue<Key>,
    left_behind: WorkQueue<Key>,
    expectations: Expectations,
    memories: Memories,
    jobs: Informer<Job>,
}

impl Seeing {
    fn see(&self, seen: &Seen<'_, Pod>) {
        let pod = seen.object();
        let (uid, namespace) = (pods::uid(&pod.metadata), namespace_of(pod));
        let gone = matches!(seen.change, Change::Deleted(_));
        for owner in &seen.owners {
            self.expectations.saw(&owner.uid, uid, seen.going());
            if (gone || !is_tracked(pod))
                && let Some(memory) = self.memories.lock().get_mut(&owner.uid)
            {
                memory.released.remove(uid);
            }
            self.queue.add((namespace.clone(), owner.name.clone()));
        }
        if seen.orphan {
            for job in self.jobs.list_in(&namespace) {
                let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
                if selector.is_some_and(|s| labels::matches(s, pod.metadata.labels.as_ref())) {
                    self.queue.add((namespace.clone(), name_of(&*job)));
                }
            }
        }
        if !gone && is_tracked(pod) && !self.is_looked_after(pod) {
            self.left_behind.add((namespace, name_of(pod)));
        }
    }

    fn is_looked_after(&self, pod: &Pod) -> bool {
        looked_after(&self.jobs, pod)
    }
}

/// Whether a pod's Job is there and still counts.
fn looked_after(jobs: &Informer<Job>, pod: &Pod) -> bool {
    let Some(owner) = pods::controller_of(&pod.metadata) else { return false };
    let job = jobs.get(&namespace_of(pod), &owner.name);
    job.is_some_and(|job| {
        job.metadata.uid.as_ref() == Some(&owner.uid)
            && (is_managed_elsewhere(&job) || !is_finished(&job))
    })
}

#[derive(Clone)]
struct Worker {
    client: Client,
    clock: Clock,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    dependents: Dependents<Pod>,
    control: PodControl,
    memories: Memories,
}

impl Worker {
    async fn reconcile(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.pods.synced().await;
        let Some(job) = self.jobs.get(namespace, name) else { return Ok(Outcome::Done) };
        let Some(selector) = job.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else {
            return Ok(Outcome::Done);
        };
        if is_finished(&job) || is_managed_elsewhere(&job) {
            return Ok(Outcome::Done);
        }
        let uid = pods::uid(&job.metadata).to_owned();
        let waiting = self.control.expectations.pending(&uid);
        let candidates = self.dependents.candidates(&job.metadata);
        let pods = claim_all(&self.client, &*job, candidates, |metadata| {
            labels::matches(selector, metadata.labels.as_ref())
        })
        .await?;
        let (backoff, released) = {
            let mut memories = self.memories.lock();
            let memory = memories.entry(uid.clone()).or_default();
            (memory.backoff, memory.released.clone())
        };
        let snapshot = Snapshot {
            job: &job,
            pods: &pods,
            settled: waiting.is_none(),
            released: &released,
            backoff,
        };
        let mut plan = decide(&snapshot, self.clock.now());
        let failure = self.make_and_delete(&job, &plan.create, &plan.delete).await;
        if failure.is_some() {
            // What was planned did not come to be: only count this time.
            let counting = Snapshot { settled: false, ..snapshot };
            plan.tracking = decide(&counting, self.clock.now()).tracking;
        }
        if let Some(tracking) = plan.tracking {
            self.track(&job, tracking, plan.notes, plan.backoff).await?;
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        let wait = [plan.again_after, waiting].into_iter().flatten().min();
        Ok(wait.map_or(Outcome::Done, Outcome::After))
    }

    async fn make_and_delete(
        &self,
        job: &Job,
        create: &[Pod],
        delete: &[Arc<Pod>],
    ) -> Option<kube::Error> {
        let subject = Subject::of(job);
        if !create.is_empty() {
            return self.control.create_all(&subject, create).await.1;
        }
        self.control.delete_all(&subject, delete).await
    }

    async fn track(
        &self,
        job: &Job,
        tracking: Tracking,
        notes: Vec<Note>,
        backoff: Backoff,
    ) -> Result<(), kube::Error> {
        let uid = pods::uid(&job.metadata);
        let mut current = job.clone();
        if tracking.changed {
            let Some(written) = self.write(current, tracking.status.clone()).await? else {
                return Ok(());
            };
            current = written;
        }
        self.tell(job, &notes);
        if let Some(memory) = self.memories.lock().get_mut(uid) {
            memory.backoff = backoff;
        }
        let (released, failure) = self.release(uid, &tracking.release).await;
        let (status, notes) = tracking.settle(&released, self.clock.now());
        if let Some(status) = status
            && self.write(current, status).await?.is_some()
        {
            self.tell(job, &notes);
        }
        failure.map_or(Ok(()), Err)
    }

    fn tell(&self, job: &Job, notes: &[Note]) {
        tell(&self.control.recorder, &Subject::of(job), notes);
    }

    /// Writes a status; `None` when the Job is gone.
    async fn write(&self, mut job: Job, status: JobStatus) -> Result<Option<Job>, kube::Error> {
        let api = self.client.namespaced::<Job>(&namespace_of(&job));
        job.status = Some(status);
        match api.replace_status(&name_of(&job), &PostParams::default(), &job).await {
            Ok(written) => Ok(Some(written)),
            Err(error) if not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the finalizers of pods; the UIDs of those that have none now, and the first failure.
    async fn release(
        &self,
        job: &str,
        pods: &[Arc<Pod>],
    ) -> (BTreeSet<String>, Option<kube::Error>) {
        let uid = |pod: &Pod| pods::uid(&pod.metadata).to_owned();
        if let Some(memory) = self.memories.lock().get_mut(job) {
            memory.released.extend(pods.iter().map(|pod| uid(pod)));
        }
        let removals: Vec<_> = pods
            .iter()
            .map(|pod| async move { (uid(pod), self.remove_finalizer(pod).await) })
            .collect();
        let results: Vec<_> =
            futures::stream::iter(removals).buffer_unordered(WRITES_IN_FLIGHT_MAX).collect().await;
        let (mut released, mut failure) = (BTreeSet::new(), None);
        for (uid, result) in results {
            match result {
                Ok(()) => {
                    released.insert(uid);
                }
                Err(error) => {
                    if let Some(memory) = self.memories.lock().get_mut(job) {
                        memory.released.remove(&uid);
                    }
                    failure = Some(error);
                }
            }
        }
        (released, failure)
    }

    async fn remove_finalizer(&self, pod: &Pod) -> Result<(), kube::Error> {
        let api = self.client.namespaced::<Pod>(&namespace_of(pod));
        let patch = json!({"metadata": {
            "uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [TRACKING]}});
        let patch = Patch::Strategic(patch);
        match api.patch(&name_of(pod), &PatchParams::default(), &patch).await {
            Err(error) if not_found(&error) => Ok(()),
            // Another pod has the name by now.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 422 => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// Frees a pod that no Job will count any more.
    async fn leave(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.jobs.synced().await;
        let Some(pod) = self.pods.get(namespace, name) else { return Ok(Outcome::Done) };
        if is_tracked(&pod) && !looked_after(&self.jobs, &pod) {
            self.remove_finalizer(&pod).await?;
        }
        Ok(Outcome::Done)
    }
}
