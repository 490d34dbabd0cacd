//! CronJobs start Jobs at their times.

use std::sync::Arc;

use client::{
    Change, Client, EventKind, Informer, Outcome, Recorder, Subject, WorkQueue, run_workers,
};
use clock::Clock;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use kube::api::{DeleteParams, PostParams, Preconditions, PropagationPolicy};
use reconcile::cron_job::{Plan, Snapshot, decide, started};
use reconcile::pods;

use crate::Context;
use crate::dependents::{Dependents, follow};
use crate::kinds::{already_exists, conflicts, name_of, namespace_gone, namespace_of, not_found};
use crate::limits::WORKERS;
use crate::notes::tell;
use crate::pod_control::text_of;

type Key = (String, String);

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let crons = context.client.informer::<CronJob>();
    let adding = queue.clone();
    crons.on_change(move |change| {
        let cron = change.object();
        if !matches!(change, Change::Deleted(_)) {
            adding.add((namespace_of(&**cron), name_of(&**cron)));
        }
    });
    let jobs = context.client.informer::<Job>();
    let adding = queue.clone();
    let dependents = follow(&jobs, "batch", "CronJob", move |seen| {
        for owner in &seen.owners {
            adding.add((namespace_of(seen.object()), owner.name.clone()));
        }
    });
    let (client, clock) = (context.client.clone(), context.clock.clone());
    let recorder =
        Recorder::start(&client, clock.clone(), "cronjob-controller", "", &context.scope);
    let worker = Worker { client, clock, crons, jobs, dependents, recorder };
    run_workers(&context.scope, "cron job controller", WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key.0, &key.1).await }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    clock: Clock,
    crons: Informer<CronJob>,
    jobs: Informer<Job>,
    dependents: Dependents<Job>,
    recorder: Recorder,
}

impl Worker {
    async fn reconcile(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.jobs.synced().await;
        let Some(cron) = self.crons.get(namespace, name) else { return Ok(Outcome::Done) };
        let mut jobs = self.dependents.of(&cron.metadata);
        self.add_unseen(&cron, &mut jobs).await?;
        let plan = decide(&Snapshot { cron: &cron, jobs: &jobs }, self.clock.now());
        let again = plan.again_after;
        self.act(&cron, plan).await?;
        Ok(again.map_or(Outcome::Done, Outcome::After))
    }

    /// A Job that was started a moment ago may not be in the cache yet: it is not missing.
    async fn add_unseen(
        &self,
        cron: &CronJob,
        jobs: &mut Vec<Arc<Job>>,
    ) -> Result<(), kube::Error> {
        let api = self.client.namespaced::<Job>(&namespace_of(cron));
        let active = cron.status.as_ref().and_then(|status| status.active.as_ref());
        for reference in active.into_iter().flatten() {
            if jobs.iter().any(|job| job.metadata.uid == reference.uid) {
                continue;
            }
            let Some(name) = &reference.name else { continue };
            if let Some(job) = api.get_opt(name).await?
                && job.metadata.uid == reference.uid
            {
                jobs.push(Arc::new(job));
            }
        }
        Ok(())
    }

    async fn act(&self, cron: &CronJob, plan: Plan) -> Result<(), kube::Error> {
        let subject = Subject::of(cron);
        tell(&self.recorder, &subject, &plan.notes);
        for job in &plan.delete {
            self.delete(&subject, job).await?;
        }
        let mut status = plan.status;
        if let (Some(job), Some(at)) = (plan.create, plan.scheduled)
            && let Some(made) = self.create(cron, &subject, &job).await?
        {
            status = started(status, &made, at);
        }
        self.report(cron, status).await
    }

    async fn create(
        &self,
        cron: &CronJob,
        subject: &Subject,
        job: &Job,
    ) -> Result<Option<Job>, kube::Error> {
        let api = self.client.namespaced::<Job>(&subject.namespace);
        match api.create(&PostParams::default(), job).await {
            Ok(made) => {
                let message = format!("Created job {}", name_of(&made));
                self.recorder.event(subject, EventKind::Normal, "SuccessfulCreate", message);
                Ok(Some(made))
            }
            Err(error) if namespace_gone(&error) => Ok(None),
            Err(error) if already_exists(&error) => {
                // Started before a crash, or another's: then it is said and tried at the next time.
                let found = api.get_opt(&name_of(job)).await?;
                let own = found.filter(|found| {
                    pods::controller_of(&found.metadata).map(|owner| &owner.uid)
                        == cron.metadata.uid.as_ref()
                });
                own.map(Some).ok_or(error)
            }
            Err(error) => {
                let message = format!("Error creating job: {}", text_of(&error));
                self.recorder.event(subject, EventKind::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    async fn delete(&self, subject: &Subject, job: &Job) -> Result<(), kube::Error> {
        let api = self.client.namespaced::<Job>(&subject.namespace);
        let name = name_of(job);
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid: job.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(&name, &params).await {
            Ok(_) => {
                let message = format!("Deleted job {name}");
                self.recorder.event(subject, EventKind::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Err(error) if not_found(&error) || conflicts(&error) => Ok(()),
            Err(error) => {
                let message = format!("Deleted job: {}", text_of(&error));
                self.recorder.event(subject, EventKind::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }

    async fn report(&self, cron: &CronJob, status: CronJobStatus) -> Result<(), kube::Error> {
        if cron.status.clone().unwrap_or_default() == status {
            return Ok(());
        }
        let api = self.client.namespaced::<CronJob>(&namespace_of(cron));
        let reported = CronJob { status: Some(status), ..cron.clone() };
        match api.replace_status(&name_of(cron), &PostParams::default(), &reported).await {
            Err(error) if !not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}
