//! Checks of a Job's status: counters, and conditions that contradict each other.

use serde_json::Value;

use super::validate::count_indexes;
use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, duration, tree};

/// Faults of a changed status.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<Error> {
    let status = At::root(new).get("status");
    let mut faults = Faults::default();
    for counter in ["active", "succeeded", "failed", "ready", "terminating"] {
        faults.non_negative(&status.get(counter));
    }
    contradictions(new, &status, &mut faults);
    finished(new, &status, &mut faults);
    indexes(new, &status, &mut faults);
    changes(new, old, &status, &mut faults);
    faults.0
}

/// Pairs of conditions of which only one may be true.
const EXCLUSIVE: [(&str, &str, &str); 4] = [
    ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
    ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
    (
        "SuccessCriteriaMet",
        "Failed",
        "cannot set SuccessCriteriaMet=True and Failed=true conditions",
    ),
    (
        "SuccessCriteriaMet",
        "FailureTarget",
        "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
    ),
];

fn contradictions(new: &Value, status: &At<'_>, faults: &mut Faults) {
    let is = |kind| cells::condition_is_true(new, kind);
    let conditions = status.get("conditions");
    for (one, other, text) in EXCLUSIVE {
        if is(one) && is(other) {
            faults.invalid_bare(&conditions, text);
        }
    }
    if is("Failed") && !is("FailureTarget") {
        faults.invalid_bare(
            &conditions,
            "cannot set Failed=True condition without the FailureTarget=true condition",
        );
    }
    if is("Complete") && !is("SuccessCriteriaMet") {
        faults.invalid_bare(
            &conditions,
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        );
    }
    let ready = status.get("ready");
    if ready.int().unwrap_or_default() > status.get("active").int().unwrap_or_default() {
        faults.invalid(&ready, "cannot set more ready pods than active");
    }
}

fn finished(new: &Value, status: &At<'_>, faults: &mut Faults) {
    let is_complete = cells::condition_is_true(new, "Complete");
    let (start, end) = (status.get("startTime"), status.get("completionTime"));
    if end.is_set() && !is_complete {
        faults.invalid(&end, "cannot set completionTime when there is no Complete=True condition");
    }
    if is_complete && !end.is_set() {
        faults.required(&end, "completionTime is required for Complete jobs");
    }
    let times = (duration::parse(Some(start.value)), duration::parse(Some(end.value)));
    if let (Some(started), Some(ended)) = times
        && ended < started
    {
        faults.invalid(&end, "completionTime cannot be set before startTime");
    }
    if !is_complete && !cells::condition_is_true(new, "Failed") {
        return;
    }
    for counter in ["active", "terminating"] {
        let at = status.get(counter);
        if at.int().unwrap_or_default() > 0 {
            faults.invalid(&at, format!("{counter}>0 is invalid for finished job"));
        }
    }
    if !start.is_set() {
        faults.required(&start, "startTime is required for finished job");
    }
    let uncounted = status.get("uncountedTerminatedPods");
    if uncounted.get("failed").len() + uncounted.get("succeeded").len() > 0 {
        faults.invalid(&uncounted, "uncountedTerminatedPods needs to be empty for finished job");
    }
}

fn indexes(new: &Value, status: &At<'_>, faults: &mut Faults) {
    let completed = status.get("completedIndexes");
    let failed = status.get("failedIndexes");
    if let Some(completions) = tree::int(new, "/spec/completions") {
        if let Err(fault) = count_indexes(completed.text(), completions) {
            faults.invalid(&completed, format!("error parsing completedIndexes: {fault}"));
        }
        if let Err(fault) = count_indexes(failed.text(), completions) {
            faults.invalid(&failed, format!("error parsing failedIndexes: {fault}"));
        }
    }
    if !completed.is_zero() && tree::text(new, "/spec/completionMode") != "Indexed" {
        faults.invalid(
            &completed,
            "cannot set non-empty completedIndexes when non-indexed completion mode",
        );
    }
    if failed.is_set() && tree::at(new, "/spec/backoffLimitPerIndex").is_none() {
        faults.invalid(
            &failed,
            "cannot set non-null failedIndexes when backoffLimitPerIndex is null",
        );
    }
}

fn changes(new: &Value, old: &Value, status: &At<'_>, faults: &mut Faults) {
    for kind in ["Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"] {
        if cells::condition_is_true(old, kind) && !cells::condition_is_true(new, kind) {
            let terminal = if kind == "SuccessCriteriaMet" { "" } else { "terminal " };
            faults.invalid_bare(
                &status.get("conditions"),
                format!("cannot disable the {terminal}{kind}=True condition"),
            );
        }
    }
    for counter in ["failed", "succeeded"] {
        let at = status.get(counter);
        if at.int().unwrap_or_default() < tree::count(old, &format!("/status/{counter}")) {
            faults.invalid_as(
                &at,
                at.int().unwrap_or_default(),
                format!("cannot decrease the {counter} counter"),
            );
        }
    }
    let (end, start) = (status.get("completionTime"), status.get("startTime"));
    let old_end = tree::at(old, "/status/completionTime");
    if end.is_set() && old_end.is_some_and(|before| before != end.value) {
        faults.invalid(&end, "completionTime cannot be mutated");
    }
    let old_start = tree::at(old, "/status/startTime");
    let is_suspended = tree::flag(new, "/spec/suspend");
    if old_start.is_some_and(|before| before != start.value) && !is_suspended {
        faults.required(&start, "startTime cannot be removed for unsuspended job");
    }
}
