//! `batch/v1 Job`: runs pods to completion. Checks of the spec and of the status are in files below.

mod status;
pub(super) mod validate;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, duration, pod_spec, row, tree};
use crate::meta;
use crate::object::SelectableFields;
use crate::resource::{Cell, Column, Names, Resource, Strategy, Subresource};

struct Job;

/// Retries of failed pods.
const BACKOFF_LIMIT: i64 = 6;
/// Labels with the Job's UID on its pods, the old one first.
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
/// Labels with the Job's name on its pods, the old one first.
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::STATUS],
        columns: columns(),
        has_status: true,
        has_generation: true,
        orphans_by_default: true,
        ..row("batch", "v1", "Job", "jobs", &Job)
    }]
}

fn columns() -> Vec<Column> {
    let mut columns = vec![
        Column::new("Status", Cell::Compute(|job, _| state(job).into())),
        Column::new("Completions", Cell::Compute(|job, _| completions(job).into())),
        Column::new("Duration", Cell::Compute(|job, now| took(job, now).into())),
        cells::age(),
    ];
    columns.extend(cells::workload_wide());
    columns
}

fn state(job: &Value) -> &'static str {
    let is = |kind| cells::condition_is_true(job, kind);
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if meta::is_deleting(job) {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> String {
    let succeeded = tree::count(job, "/status/succeeded");
    let parallelism = tree::count(job, "/spec/parallelism");
    match tree::int(job, "/spec/completions") {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

fn took(job: &Value, now: Timestamp) -> String {
    let Some(start) = duration::parse(job.pointer("/status/startTime")) else {
        return String::new();
    };
    let end = duration::parse(job.pointer("/status/completionTime")).unwrap_or(now);
    duration::human_duration(duration::seconds_between(start, end))
}

fn fill_spec(spec: &mut Value) {
    if tree::at(spec, "/completions").is_none() && tree::at(spec, "/parallelism").is_none() {
        tree::fill(spec, "completions", 1);
    }
    tree::fill(spec, "parallelism", 1);
    let is_per_index = tree::at(spec, "/backoffLimitPerIndex").is_some();
    let limit = if is_per_index { i64::from(i32::MAX) } else { BACKOFF_LIMIT };
    tree::fill(spec, "backoffLimit", limit);
    tree::fill(spec, "completionMode", "NonIndexed");
    tree::fill(spec, "suspend", false);
    let policy = tree::child(spec, "podFailurePolicy");
    let replacement = if policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
    if let Some(policy) = policy {
        tree::each(policy, "rules", |rule| {
            tree::each(rule, "onPodConditions", |pattern| {
                tree::fill_zero(pattern, "status", "True");
            });
        });
    }
    tree::fill(spec, "podReplacementPolicy", replacement);
    tree::fill(spec, "manualSelector", false);
}

/// A Job without labels of its own has those of its pods, the generated ones too.
fn label_as_template(job: &mut Value) {
    let labels = job.pointer("/spec/template/metadata/labels").cloned();
    let Some(mut labels) = labels.filter(Value::is_object) else { return };
    if meta::get(job, "labels").is_some_and(|own| !tree::is_zero(own)) {
        return;
    }
    if !tree::flag(job, "/spec/manualSelector") && !meta::uid(job).is_empty() {
        generated_labels(&mut labels, meta::name(job), meta::uid(job));
    }
    tree::set(tree::make(job, "metadata"), "labels", labels);
}

fn generated_labels(labels: &mut Value, name: &str, uid: &str) {
    for label in NAME_LABELS {
        tree::fill(labels, label, name);
    }
    for label in UID_LABELS {
        tree::fill(labels, label, uid);
    }
}

/// Labels the pods with the Job's name and UID, and selects by the latter.
fn generate_selector(job: &mut Value) {
    let (name, uid) = (meta::name(job).to_owned(), meta::uid(job).to_owned());
    let spec = tree::make(job, "spec");
    let labels = tree::make(tree::make(tree::make(spec, "template"), "metadata"), "labels");
    generated_labels(labels, &name, &uid);
    let wanted = tree::make(tree::make(spec, "selector"), "matchLabels");
    tree::fill(wanted, UID_LABELS[1], uid);
}

impl Strategy for Job {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        fill_spec(spec);
        pod_spec::defaults::template(tree::make(spec, "template"));
        label_as_template(object);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        if !tree::flag(object, "/spec/manualSelector") {
            generate_selector(object);
        }
        tree::set(object, "status", json!({}));
        label_as_template(object);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let mut faults = Faults::default();
        generated_selector(&at, true, &mut faults);
        validate::spec_with_selector(&at.get("spec"), &mut faults);
        pod_host_name(&at, &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let at = At::root(new);
        let old_labels = old.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
        let has_new_labels =
            [UID_LABELS[1], NAME_LABELS[1]].iter().all(|label| old_labels.get(*label).is_some());
        let mut faults = Faults::default();
        generated_selector(&at, has_new_labels, &mut faults);
        validate::spec_with_selector(&at.get("spec"), &mut faults);
        pod_host_name(&at, &mut faults);
        validate::spec_update(new, old, &mut faults);
        faults.0
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        status::validate(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none()
            && let Err(fault) = crate::name::label(meta::name(new))
        {
            warnings.push(format!(
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{fault}]"
            ));
        }
        pod_spec::warnings::of_spec(
            &At::root(new).get2("spec", "template").get("spec"),
            &mut warnings,
        );
        warnings
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        let succeeded = tree::count(object, "/status/succeeded").to_string();
        vec![("status.successful", succeeded.into())]
    }
}

/// The selector and labels must be those that [`generate_selector`] makes, unless the user wants others.
fn generated_selector(job: &At<'_>, are_new_labels_needed: bool, faults: &mut Faults) {
    let selector = job.get2("spec", "selector");
    if tree::flag(job.value, "/spec/manualSelector") || !selector.is_set() {
        return;
    }
    let (name, uid) = (meta::name(job.value), meta::uid(job.value));
    if uid.is_empty() {
        faults.required(&job.get2("metadata", "uid"), "");
    }
    let metadata = job.get2("spec", "template").get("metadata");
    let mut expected = serde_json::Map::new();
    for (place, is_needed) in [(0, true), (1, are_new_labels_needed)] {
        if !is_needed {
            continue;
        }
        for (label, value) in [(UID_LABELS[place], uid), (NAME_LABELS[place], name)] {
            has_label(&metadata, label, value, faults);
            expected.insert(label.to_owned(), value.into());
        }
    }
    if !crate::kinds::workload::matches(selector.value, &Value::Object(expected)) {
        faults.invalid(&selector, "`selector` not auto-generated");
    }
}

fn has_label(metadata: &At<'_>, key: &str, expected: &str, faults: &mut Faults) {
    let labels = metadata.get("labels");
    match labels.value.get(key).and_then(Value::as_str) {
        Some(actual) if actual == expected => {}
        Some(_) => {
            let at = At { value: labels.value, path: labels.path.key(key) };
            faults.invalid(&at, format!("must be '{expected}'"));
        }
        None => {
            let at = At { value: labels.value, path: labels.path.key(key) };
            faults.required(&at, &format!("must be '{expected}'"));
        }
    }
}

/// An indexed Job's pods have its name and their index as host name.
fn pod_host_name(job: &At<'_>, faults: &mut Faults) {
    let count = tree::count(job.value, "/spec/completions");
    if tree::text(job.value, "/spec/completionMode") != "Indexed" || count <= 0 {
        return;
    }
    let longest = format!("{}-{}", meta::name(job.value), count - 1);
    if crate::name::label(&longest).is_err() {
        faults.invalid_as(
            &job.get2("metadata", "name"),
            meta::name(job.value),
            format!("will not able to create pod with invalid DNS label: {longest}"),
        );
    }
}

#[cfg(test)]
mod tests;
