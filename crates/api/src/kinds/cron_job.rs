//! `batch/v1 CronJob`: makes Jobs by the clock.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, duration, job, pod_spec, row, schedule, tree};
use crate::meta;
use crate::resource::{Cell, Column, Names, Resource, Strategy, Subresource};

struct CronJob;

/// Longest name: Jobs get 11 characters behind it.
const NAME_MAX: usize = 52;
/// Longest part of a time zone's name.
const ZONE_PART_MAX: usize = 14;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["cj"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::STATUS],
        columns: columns(),
        has_status: true,
        has_generation: true,
        ..row("batch", "v1", "CronJob", "cronjobs", &CronJob)
    }]
}

fn columns() -> Vec<Column> {
    const CONTAINERS: &str = "/spec/jobTemplate/spec/template/spec/containers";
    vec![
        Column::new("Schedule", Cell::Pointer("/spec/schedule")),
        Column::new(
            "Timezone",
            Cell::Compute(|o, _| cells::or_none(tree::text(o, "/spec/timeZone")).into()),
        ),
        cells::boolean(
            "Suspend",
            Cell::Compute(|o, _| cells::optional_flag(o, "/spec/suspend").into()),
        ),
        Column::integer(
            "Active",
            Cell::Compute(|o, _| tree::list(o, "/status/active").len().into()),
        ),
        Column::new("Last Schedule", Cell::Compute(|o, now| last_schedule(o, now).into())),
        cells::age(),
        Column::wide(
            "Containers",
            Cell::Compute(|o, _| cells::container_texts(tree::list(o, CONTAINERS), "/name").into()),
        ),
        Column::wide(
            "Images",
            Cell::Compute(|o, _| {
                cells::container_texts(tree::list(o, CONTAINERS), "/image").into()
            }),
        ),
        Column::wide(
            "Selector",
            Cell::Compute(|o, _| cells::selector(o, "/spec/jobTemplate/spec/selector").into()),
        ),
    ]
}

fn last_schedule(object: &Value, now: Timestamp) -> String {
    match tree::at(object, "/status/lastScheduleTime") {
        Some(time) => duration::since(Some(time), now),
        None => "<none>".to_owned(),
    }
}

fn validate_spec(at: &At<'_>, old: Option<&At<'_>>, faults: &mut Faults) {
    schedule_field(at, old, faults);
    faults.non_negative(&at.get("startingDeadlineSeconds"));
    let zone = at.get("timeZone");
    if old.is_none_or(|old| old.get("timeZone").value != zone.value) {
        time_zone(&zone, faults);
    }
    faults.one_of(&at.get("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
    let job_spec = at.get2("jobTemplate", "spec");
    job::validate::spec(&job_spec, faults);
    if job_spec.get("selector").is_set() {
        faults.invalid(&job_spec.get("selector"), "`selector` will be auto-generated");
    }
    if job_spec.get("manualSelector").flag() {
        faults.not_supported(&job_spec.get("manualSelector"), &["nil", "false"]);
    }
    faults.non_negative(&at.get("successfulJobsHistoryLimit"));
    faults.non_negative(&at.get("failedJobsHistoryLimit"));
}

fn schedule_field(at: &At<'_>, old: Option<&At<'_>>, faults: &mut Faults) {
    let field = at.get("schedule");
    if field.text().is_empty() {
        faults.required(&field, "");
        return;
    }
    if let Err(fault) = schedule::check(field.text()) {
        faults.invalid(&field, fault);
    }
    let had_zone = old.is_some_and(|old| old.get("schedule").text().contains("TZ"));
    if !field.text().contains("TZ") {
        return;
    }
    if !had_zone {
        faults.invalid(&field, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if at.get("timeZone").is_set() {
        faults.invalid(&field, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    }
}

fn time_zone(at: &At<'_>, faults: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let zone = at.text();
    if zone.is_empty() {
        faults.invalid(at, "timeZone must be nil or non-empty string");
        return;
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+');
    let is_part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.starts_with('-')
            && part.len() <= ZONE_PART_MAX
            && part.bytes().all(fits)
    };
    if !zone.split('/').all(is_part) {
        faults.invalid(at, format!("unknown time zone {zone}"));
        return;
    }
    if zone.eq_ignore_ascii_case("local") {
        faults.invalid(
            at,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    } else if jiff::tz::TimeZone::get(zone).is_err() {
        faults.invalid(at, format!("unknown time zone {zone}"));
    }
}

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        tree::fill_zero(spec, "concurrencyPolicy", "Allow");
        tree::fill(spec, "suspend", false);
        tree::fill(spec, "successfulJobsHistoryLimit", 3);
        tree::fill(spec, "failedJobsHistoryLimit", 1);
        let job_spec = tree::make(tree::make(spec, "jobTemplate"), "spec");
        pod_spec::defaults::template(tree::make(job_spec, "template"));
    }

    fn prepare_for_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({}));
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let mut faults = Faults::default();
        validate_spec(&at.get("spec"), None, &mut faults);
        if meta::name(object).len() > NAME_MAX {
            faults.invalid(
                &at.get2("metadata", "name"),
                format!("must be no more than {NAME_MAX} characters"),
            );
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate_spec(&At::root(new).get("spec"), Some(&At::root(old).get("spec")), &mut faults);
        faults.0
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
        let template = At::root(new).get2("spec", "jobTemplate").get2("spec", "template");
        pod_spec::warnings::of_spec(&template.get("spec"), &mut warnings);
        if tree::text(new, "/spec/schedule").contains("TZ") {
            warnings
                .push("cannot use TZ or CRON_TZ in spec.schedule, use timeZone instead".to_owned());
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::check::show;

    fn sample() -> Value {
        let mut object = json!({"metadata": {"name": "c"}, "spec": {"schedule": "*/5 * * * *",
            "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "OnFailure",
                "containers": [{"name": "c", "image": "i"}]}}}}}});
        CronJob.default(&mut object);
        object
    }

    #[test]
    fn defaults_and_columns() {
        let object = sample();
        assert_eq!(object["spec"]["concurrencyPolicy"], "Allow");
        assert_eq!(object["spec"]["failedJobsHistoryLimit"], 1);
        assert_eq!(object["spec"]["successfulJobsHistoryLimit"], 3);
        assert_eq!(object["spec"]["jobTemplate"]["spec"].get("backoffLimit"), None);
        assert_eq!(show(&CronJob.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T01:00:00Z"),
            ["*/5 * * * *", "<none>", "False", "0", "<none>", "<unknown>", "c", "i", "<none>"]
        );
    }

    #[test]
    fn faults_read_as_upstreams() {
        let cases = [
            (
                "schedule",
                json!("* * *"),
                "spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3: [* * *]",
            ),
            (
                "schedule",
                json!("TZ=UTC * * * * *"),
                "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            ),
            (
                "timeZone",
                json!("Mars/Phobos"),
                "spec.timeZone: Invalid value: \"Mars/Phobos\": unknown time zone Mars/Phobos",
            ),
            (
                "concurrencyPolicy",
                json!("X"),
                "spec.concurrencyPolicy: Unsupported value: \"X\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
            ),
            ("timeZone", json!("Europe/Berlin"), ""),
        ];
        for (field, value, text) in cases {
            let mut object = sample();
            object["spec"][field] = value;
            assert_eq!(show(&CronJob.validate(&object)), text, "{field}");
        }
    }
}
