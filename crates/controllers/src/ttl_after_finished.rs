//! Deletes finished Jobs when their time to live is over.

use client::{Change, Client, Informer, Outcome, WorkQueue, run_workers};
use clock::Clock;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use reconcile::ttl_after_finished::{Decision, decide};

use crate::Context;
use crate::kinds::{conflicts, name_of, namespace_of, not_found};
use crate::limits::WORKERS;

type Key = (String, String);

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let jobs = context.client.informer::<Job>();
    let adding = queue.clone();
    jobs.on_change(move |change| {
        let job = change.object();
        let dies = job.spec.as_ref().is_some_and(|s| s.ttl_seconds_after_finished.is_some());
        if dies && !matches!(change, Change::Deleted(_)) {
            adding.add((namespace_of(&**job), name_of(&**job)));
        }
    });
    let worker = Worker { client: context.client.clone(), clock: context.clock.clone(), jobs };
    run_workers(&context.scope, "ttl after finished", WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key.0, &key.1).await }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    clock: Clock,
    jobs: Informer<Job>,
}

impl Worker {
    async fn reconcile(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        let Some(job) = self.jobs.get(namespace, name) else { return Ok(Outcome::Done) };
        match decide(&job, self.clock.now()) {
            Decision::Keep => return Ok(Outcome::Done),
            Decision::After(pause) => return Ok(Outcome::After(pause)),
            Decision::Delete => {}
        }
        // The cache may be old, and the time to live may have been raised.
        let api = self.client.namespaced::<Job>(namespace);
        let Some(fresh) = api.get_opt(name).await? else { return Ok(Outcome::Done) };
        match decide(&fresh, self.clock.now()) {
            Decision::Keep => return Ok(Outcome::Done),
            Decision::After(pause) => return Ok(Outcome::After(pause)),
            Decision::Delete => {}
        }
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(Preconditions { uid: fresh.metadata.uid, resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(name, &params).await {
            Err(error) if !not_found(&error) && !conflicts(&error) => Err(error),
            _ => Ok(Outcome::Done),
        }
    }
}
