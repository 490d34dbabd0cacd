//! Questions about Jobs and their pods.

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec};
use k8s_openapi::api::core::v1::Pod;

use crate::pods;

/// Finalizer that keeps a pod until its Job has counted it.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Annotation and label: which index a pod works on.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub(crate) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub(crate) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const CONTROLLER: &str = "kubernetes.io/job-controller";

/// A condition of a Job that is true.
pub fn condition<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
}

/// Whether a Job has ended, one way or the other.
pub fn is_finished(job: &Job) -> bool {
    condition(job, "Complete").is_some() || condition(job, "Failed").is_some()
}

/// Whether someone else looks after the Job.
pub fn is_managed_elsewhere(job: &Job) -> bool {
    let manager = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    manager.is_some_and(|manager| manager != CONTROLLER)
}

/// Whether a pod waits to be counted.
pub fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TRACKING)
}

pub(crate) fn is_suspended(spec: &JobSpec) -> bool {
    spec.suspend.unwrap_or(false)
}

pub(crate) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Whether a pod that is only going is not replaced before it is gone.
pub(crate) fn replaces_failed_only(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

pub(crate) fn is_failed(spec: &JobSpec, pod: &Pod) -> bool {
    match pods::phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => !replaces_failed_only(spec) && pods::is_deleting(pod),
    }
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The index a pod works on.
pub(crate) fn index(pod: &Pod) -> Option<i32> {
    annotation(pod, INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// The index, when the Job (still) has it.
pub(crate) fn valid_index(spec: &JobSpec, pod: &Pod) -> Option<i32> {
    index(pod).filter(|index| *index < spec.completions.unwrap_or(0))
}

/// Failures of a pod's index before it: counted and ignored ones.
pub(crate) fn index_failures(pod: &Pod) -> (i32, i32) {
    let count = |key| {
        annotation(pod, key)
            .and_then(|text| text.parse().ok())
            .filter(|n: &i32| *n >= 0)
            .unwrap_or(0)
    };
    (count(FAILURES), count(IGNORED_FAILURES))
}
