//! When a CronJob starts a Job, and which finished Jobs it forgets.

pub mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use crate::job::facts;
use crate::note::Note;
use crate::pods;
use schedule::{Missed, Schedule};

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Longest name of a Job, so that its pods' labels can hold it.
const JOB_NAME_CHARACTERS_MAX: usize = 63;

/// What is known when deciding.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The CronJob.
    pub cron: &'a CronJob,
    /// Its own Jobs.
    pub jobs: &'a [Arc<Job>],
}

/// What to do, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Jobs to delete.
    pub delete: Vec<Arc<Job>>,
    /// A Job to make; once it exists, [`started`] gives the status.
    pub create: Option<Box<Job>>,
    /// The time that the Job to make stands for.
    pub scheduled: Option<Timestamp>,
    /// The status without that Job.
    pub status: CronJobStatus,
    /// Events.
    pub notes: Vec<Note>,
    /// When to look again, changes or not.
    pub again_after: Option<Duration>,
}

impl Plan {
    fn note(&mut self, warning: bool, reason: &'static str, message: String) {
        self.notes.push(Note { warning, reason: reason.into(), message });
    }
}

/// Decides what a CronJob does now.
pub fn decide(snapshot: &Snapshot<'_>, now: Timestamp) -> Plan {
    let cron = snapshot.cron;
    let mut plan = Plan { status: cron.status.clone().unwrap_or_default(), ..Plan::default() };
    update_active(snapshot, &mut plan);
    forget_old(snapshot, &mut plan);
    if cron.metadata.deletion_timestamp.is_some() || cron.spec.suspend.unwrap_or(false) {
        return plan;
    }
    let zone = cron.spec.time_zone.as_deref();
    let schedule = match Schedule::parse(&cron.spec.schedule, zone) {
        Ok(schedule) => schedule,
        Err(error) => {
            let reason = error.reason();
            plan.note(true, reason, error.to_string());
            return plan;
        }
    };
    start(snapshot, &schedule, now, &mut plan);
    let from = plan.scheduled.unwrap_or(now);
    plan.again_after = schedule.next(from.max(now)).map(|next| {
        // A little later, so that the time has surely come.
        let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
        wait + Duration::from_millis(100)
    });
    plan
}

fn text(text: Option<&String>) -> String {
    text.cloned().unwrap_or_default()
}

fn update_active(snapshot: &Snapshot<'_>, plan: &mut Plan) {
    let mut active = plan.status.active.take().unwrap_or_default();
    for job in snapshot.jobs {
        let uid = job.metadata.uid.as_ref();
        let name = text(job.metadata.name.as_ref());
        let listed = active.iter().position(|reference| reference.uid.as_ref() == uid);
        match (listed, facts::is_finished(job)) {
            (None, false) => {
                let message =
                    format!("Saw a job that the controller did not create or forgot: {name}");
                plan.note(true, "UnexpectedJob", message);
            }
            (Some(index), true) => {
                active.remove(index);
                let good = facts::condition(job, "Complete").is_some();
                let condition = if good { "Complete" } else { "Failed" };
                let message = format!("Saw completed job: {name}, condition: {condition}");
                plan.note(false, "SawCompletedJob", message);
            }
            _ => {}
        }
        let completed = facts::condition(job, "Complete")
            .and_then(|_| job.status.as_ref()?.completion_time.clone());
        let newest = plan.status.last_successful_time.as_ref().map(|time| time.0);
        if let Some(completed) = completed.filter(|time| Some(time.0) > newest) {
            plan.status.last_successful_time = Some(completed);
        }
    }
    active.retain(|reference| {
        let there = snapshot.jobs.iter().any(|job| job.metadata.uid == reference.uid);
        if !there {
            let message = format!("Active job went missing: {}", text(reference.name.as_ref()));
            plan.note(false, "MissingJob", message);
        }
        there
    });
    plan.status.active = (!active.is_empty()).then_some(active);
}

/// Of the finished Jobs only the youngest are kept.
fn forget_old(snapshot: &Snapshot<'_>, plan: &mut Plan) {
    let spec = &snapshot.cron.spec;
    let limits = [
        ("Complete", spec.successful_jobs_history_limit),
        ("Failed", spec.failed_jobs_history_limit),
    ];
    for (condition, limit) in limits {
        let Some(limit) = limit else { continue };
        let ended = |job: &&Arc<Job>| facts::condition(job, condition).is_some();
        let mut jobs: Vec<&Arc<Job>> = snapshot.jobs.iter().filter(ended).collect();
        jobs.sort_by_key(|job| {
            let started = job.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
            (started.is_none(), started, text(job.metadata.name.as_ref()))
        });
        let surplus = jobs.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        plan.delete.extend(jobs.into_iter().take(surplus).cloned());
    }
}

fn start(snapshot: &Snapshot<'_>, schedule: &Schedule, now: Timestamp, plan: &mut Plan) {
    let cron = snapshot.cron;
    let last = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    let since = last.map(|time| time.0).or_else(|| pods::created(&cron.metadata)).unwrap_or(now);
    let deadline = cron.spec.starting_deadline_seconds;
    let missed = match schedule.missed(since, deadline, now) {
        Ok(missed) => missed,
        Err(error) => {
            let message = format!("invalid schedule: {} : {error}", cron.spec.schedule);
            return plan.note(true, "InvalidSchedule", message);
        }
    };
    let Some(Missed { latest, many }) = missed else { return };
    if many {
        let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.note(true, "TooManyMissedTimes", message.to_owned());
    }
    let due =
        deadline.and_then(|seconds| latest.checked_add(SignedDuration::from_secs(seconds)).ok());
    if due.is_some_and(|due| due < now) {
        let at = latest.strftime("%a, %d %b %Y %H:%M:%S +0000");
        return plan.note(
            true,
            "MissSchedule",
            format!("Missed scheduled time to start a job: {at}"),
        );
    }
    let name = job_name(cron, latest);
    let active = plan.status.active.clone().unwrap_or_default();
    let started = active.iter().any(|reference| reference.name.as_deref() == Some(&name));
    if started || last.is_some_and(|time| time.0 == latest) {
        return;
    }
    match cron.spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            return plan.note(false, "JobAlreadyActive", message.to_owned());
        }
        Some("Replace") => {
            let is_active = |job: &&Arc<Job>| active.iter().any(|a| a.uid == job.metadata.uid);
            plan.delete.extend(snapshot.jobs.iter().filter(is_active).cloned());
            plan.status.active = None;
        }
        _ => {}
    }
    plan.create = Some(Box::new(make(cron, name, latest, schedule)));
    plan.scheduled = Some(latest);
}

/// The Job of a time has one name, so that it cannot be started twice.
fn job_name(cron: &CronJob, at: Timestamp) -> String {
    let minutes = format!("-{}", at.as_second().div_euclid(60));
    let mut name = text(cron.metadata.name.as_ref());
    name.truncate(JOB_NAME_CHARACTERS_MAX - minutes.len());
    name + &minutes
}

fn make(cron: &CronJob, name: String, at: Timestamp, schedule: &Schedule) -> Job {
    let template = cron.spec.job_template.metadata.clone().unwrap_or_default();
    let mut annotations = template.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED_AT.to_owned(), schedule.local(at));
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: cron.metadata.namespace.clone(),
            labels: template.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![OwnerReference {
                api_version: "batch/v1".to_owned(),
                kind: "CronJob".to_owned(),
                name: text(cron.metadata.name.as_ref()),
                uid: pods::uid(&cron.metadata).to_owned(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        spec: cron.spec.job_template.spec.clone(),
        status: None,
    }
}

/// The status once the Job of a time exists.
pub fn started(mut status: CronJobStatus, job: &Job, at: Timestamp) -> CronJobStatus {
    status.active.get_or_insert_default().push(ObjectReference {
        api_version: Some("batch/v1".to_owned()),
        kind: Some("Job".to_owned()),
        namespace: job.metadata.namespace.clone(),
        name: job.metadata.name.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        field_path: None,
    });
    status.last_schedule_time = Some(Time(at));
    status
}
