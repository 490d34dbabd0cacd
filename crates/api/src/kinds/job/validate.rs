//! Checks of a Job's spec, in a Job or in a CronJob's template.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kinds::check::{At, Faults};
use crate::kinds::{pod_spec, tree, workload};
use crate::name;

const INDEXED_PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
/// From this many completions on, the next two limits hold where failures count per index.
const COMPLETIONS_SOFT_MAX: i64 = 100_000;
const HIGH_PARALLELISM_MAX: i64 = 10_000;
const HIGH_FAILED_INDEXES_MAX: i64 = 10_000;
const POLICY_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const CONDITIONS_MAX: usize = 20;
const MANAGED_BY_MAX: usize = 63;
const SUCCEEDED_INDEXES_BYTES_MAX: usize = 64 * 1024;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

fn quoted(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

/// A Job's spec, where the selector must be there.
pub(super) fn spec_with_selector(at: &At<'_>, faults: &mut Faults) {
    spec(at, faults);
    let selector = at.get("selector");
    if selector.is_set() {
        faults.label_selector(&selector);
    } else {
        faults.required(&selector, "");
    }
    let labels = at.get("template").get2("metadata", "labels");
    if workload::is_usable(&selector) && !workload::matches(selector.value, labels.value) {
        faults.invalid(&labels, "`selector` does not match template `labels`");
    }
}

/// A Job's spec without its selector.
pub(in super::super) fn spec(at: &At<'_>, faults: &mut Faults) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        faults.non_negative(&at.get(field));
    }
    if at.get("maxFailedIndexes").is_set() && !at.get("backoffLimitPerIndex").is_set() {
        faults.required(&at.get("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    let manager = at.get("managedBy");
    if manager.is_set() && manager.is_zero() {
        faults.required(&manager, "");
    } else if manager.is_set() {
        if let Err(fault) = name::domain_prefixed_path(manager.text()) {
            faults.invalid(&manager, fault);
        }
        if manager.text().len() > MANAGED_BY_MAX {
            faults.too_long(&manager, MANAGED_BY_MAX);
        }
    }
    completion_mode(at, faults);
    failure_policy(at, faults);
    success_policy(at, faults);
    replacement_policy(at, faults);
    pod_spec::template::validate(&at.get("template"), faults);
    restart_policy(at, faults);
}

fn completion_mode(at: &At<'_>, faults: &mut Faults) {
    faults.optional_one_of(&at.get("completionMode"), &["NonIndexed", "Indexed"]);
    if at.get("completionMode").text() == "Indexed" {
        indexed(at, faults);
        return;
    }
    if at.get("completionMode").is_set() && at.get("completionMode").text() != "NonIndexed" {
        return;
    }
    for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        if at.get(field).is_set() {
            faults.invalid(&at.get(field), "requires indexed completion mode");
        }
    }
}

fn at_most(at: &At<'_>, max: i64, condition: &str, faults: &mut Faults) {
    if at.int().is_some_and(|number| number > max) {
        faults.invalid(at, format!("must be less than or equal to {max}{condition}"));
    }
}

fn indexed(at: &At<'_>, faults: &mut Faults) {
    let (completions, parallelism) = (at.get("completions"), at.get("parallelism"));
    let failed = at.get("maxFailedIndexes");
    if !completions.is_set() {
        faults.required(&completions, "when completion mode is Indexed");
    }
    at_most(&parallelism, INDEXED_PARALLELISM_MAX, " when completion mode is Indexed", faults);
    if let (Some(wanted), Some(most)) = (completions.int(), failed.int())
        && most > wanted
    {
        faults.invalid(&failed, "must be less than or equal to completions");
    }
    at_most(&failed, FAILED_INDEXES_MAX, "", faults);
    let is_high = completions.int().unwrap_or_default() > COMPLETIONS_SOFT_MAX;
    if is_high && at.get("backoffLimitPerIndex").is_set() {
        if !failed.is_set() {
            let text =
                format!("must be specified when completions is above {COMPLETIONS_SOFT_MAX}");
            faults.required(&failed, &text);
        }
        let when = format!(
            " when completions are above {COMPLETIONS_SOFT_MAX} and used with backoff limit per index"
        );
        at_most(&parallelism, HIGH_PARALLELISM_MAX, &when, faults);
        at_most(&failed, HIGH_FAILED_INDEXES_MAX, &when, faults);
    }
}

fn failure_policy(at: &At<'_>, faults: &mut Faults) {
    let rules = at.get2("podFailurePolicy", "rules");
    faults.at_most(&rules, POLICY_RULES_MAX);
    let mut names = BTreeSet::new();
    for list in ["containers", "initContainers"] {
        let containers = at.get("template").get2("spec", list);
        names.extend(containers.items().map(|container| container.get("name").text()));
    }
    for rule in rules.items() {
        failure_rule(at, &rule, &names, faults);
    }
}

fn failure_rule(spec: &At<'_>, rule: &At<'_>, names: &BTreeSet<&str>, faults: &mut Faults) {
    let action = rule.get("action");
    match action.text() {
        "" => faults.required(&action, &quoted(&ACTIONS)),
        "FailIndex" if !spec.get("backoffLimitPerIndex").is_set() => {
            faults.invalid(&action, "requires the backoffLimitPerIndex to be set");
        }
        known if ACTIONS.contains(&known) => {}
        _ => faults.not_supported(&action, &ACTIONS),
    }
    let (codes, conditions) = (rule.get("onExitCodes"), rule.get("onPodConditions"));
    if codes.is_set() {
        exit_codes(&codes, names, faults);
    }
    faults.at_most(&conditions, CONDITIONS_MAX);
    for pattern in conditions.items() {
        faults.qualified(&pattern.get("type"));
        let status = pattern.get("status");
        match status.text() {
            "" => faults.required(&status, &quoted(&STATUSES)),
            known if STATUSES.contains(&known) => {}
            _ => faults.not_supported(&status, &STATUSES),
        }
    }
    match (codes.is_set(), conditions.len() > 0) {
        (true, true) => faults
            .invalid_bare(rule, "specifying both OnExitCodes and OnPodConditions is not supported"),
        (false, false) => faults
            .invalid_bare(rule, "specifying one of OnExitCodes and OnPodConditions is required"),
        _ => {}
    }
}

fn exit_codes(at: &At<'_>, names: &BTreeSet<&str>, faults: &mut Faults) {
    let operator = at.get("operator");
    match operator.text() {
        "" => faults.required(&operator, &quoted(&["In", "NotIn"])),
        "In" | "NotIn" => {}
        _ => faults.not_supported(&operator, &["In", "NotIn"]),
    }
    let container = at.get("containerName");
    if container.is_set() && !names.contains(container.text()) {
        faults.invalid(
            &container,
            "must be one of the container or initContainer names in the pod template",
        );
    }
    let values = at.get("values");
    if values.len() == 0 {
        faults.invalid_as(&values, json!([]), "at least one value is required");
    }
    faults.at_most(&values, EXIT_CODES_MAX);
    let mut seen = BTreeSet::new();
    let mut last = None;
    let mut is_ordered = true;
    for value in values.items() {
        let code = value.int().unwrap_or_default();
        if operator.text() == "In" && code == 0 {
            faults.invalid(&value, "must not be 0 for the In operator");
        }
        if !seen.insert(code) {
            faults.duplicate(&value);
        }
        is_ordered &= last.is_none_or(|last| last <= code);
        last = Some(code);
    }
    if !is_ordered {
        faults.invalid(&values, "must be ordered");
    }
}

fn success_policy(at: &At<'_>, faults: &mut Faults) {
    let policy = at.get("successPolicy");
    if !policy.is_set() {
        return;
    }
    if at.get("completionMode").text() != "Indexed" {
        faults.invalid(&policy, "requires indexed completion mode");
        return;
    }
    let rules = policy.get("rules");
    if rules.len() == 0 {
        faults.required(
            &rules,
            "at least one rules must be specified when the successPolicy is specified",
        );
    }
    faults.at_most(&rules, POLICY_RULES_MAX);
    for rule in rules.items() {
        success_rule(at.get("completions").int().unwrap_or_default(), &rule, faults);
    }
}

fn success_rule(completions: i64, rule: &At<'_>, faults: &mut Faults) {
    let (indexes, count) = (rule.get("succeededIndexes"), rule.get("succeededCount"));
    if !indexes.is_set() && !count.is_set() {
        faults
            .required(rule, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = None;
    if indexes.is_set() {
        if indexes.text().len() > SUCCEEDED_INDEXES_BYTES_MAX {
            faults.too_long(&indexes, SUCCEEDED_INDEXES_BYTES_MAX);
        }
        match count_indexes(indexes.text(), completions) {
            Ok(count) => total = Some(count),
            Err(fault) => {
                faults.invalid(&indexes, format!("error parsing succeededIndexes: {fault}"));
                total = Some(0);
            }
        }
    }
    faults.non_negative(&count);
    at_most(&count, completions, " (the number of specified completions)", faults);
    if let Some(total) = total {
        let what = " (the number of indexes in the specified succeededIndexes field)";
        at_most(&count, total, what, faults);
    }
}

/// How many indexes a text such as `0,2-4` names, all below `completions` and in order.
///
/// # Errors
/// What is wrong, as upstream says it.
pub(super) fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut total, mut last) = (0, None);
    for part in text.split(',') {
        let (first, end) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let parsed: Result<i64, _> = text.parse();
            parsed.map_err(|_| format!("cannot convert string to integer for index: \"{text}\""))
        };
        let (first, end) = (number(first)?, number(end)?);
        if part.contains('-') && first >= end {
            return Err(format!("non-increasing order, previous: {first}, current: {end}"));
        }
        if let Some(last) = last
            && first <= last
        {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        if end >= completions {
            return Err(format!("too large index: \"{end}\""));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn replacement_policy(at: &At<'_>, faults: &mut Faults) {
    let policy = at.get("podReplacementPolicy");
    if at.get("podFailurePolicy").is_set() {
        faults.optional_one_of(&policy, &["Failed"]);
    } else {
        faults.optional_one_of(&policy, &["Failed", "TerminatingOrFailed"]);
    }
}

fn restart_policy(at: &At<'_>, faults: &mut Faults) {
    let policy = at.get("template").get2("spec", "restartPolicy");
    match policy.text() {
        "" | "Always" => {
            faults.required(&policy, "valid values: \"OnFailure\", \"Never\"");
        }
        "OnFailure" if at.get("podFailurePolicy").is_set() => faults
            .invalid(&policy, "only \"Never\" is supported when podFailurePolicy is specified"),
        "OnFailure" | "Never" => {}
        _ => faults.not_supported(&policy, &["OnFailure", "Never"]),
    }
}

/// What may not change in a Job's spec.
pub(super) fn spec_update(new: &Value, old: &Value, faults: &mut Faults) {
    let (spec, old_spec) = (At::root(new).get("spec"), At::root(old).get("spec"));
    completions_update(&spec, &old_spec, faults);
    faults.immutable(&spec.get("selector"), &old_spec.get("selector"));
    template_update(new, old, faults);
    for field in
        ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        faults.immutable(&spec.get(field), &old_spec.get(field));
    }
}

fn completions_update(spec: &At<'_>, old: &At<'_>, faults: &mut Faults) {
    let (new, old) = (spec.get("completions"), old.get("completions"));
    if spec.get("completionMode").text() != "Indexed" {
        faults.immutable(&new, &old);
    } else if new.is_set() && new.value != old.value && new.int() != spec.get("parallelism").int() {
        faults.invalid(&new, "can only be modified in tandem with spec.parallelism");
    }
}

/// The template stays, but for where the pods may go while a suspended Job has not started.
fn template_update(new: &Value, old: &Value, faults: &mut Faults) {
    let at = At::root(new).get2("spec", "template");
    let mut fixed = old.pointer("/spec/template").cloned().unwrap_or_default();
    let is_open = tree::flag(old, "/spec/suspend") && tree::at(old, "/status/startTime").is_none();
    if is_open {
        let metadata = tree::make(&mut fixed, "metadata");
        for field in ["annotations", "labels"] {
            tree::restore(metadata, at.get("metadata").value, field);
        }
        let spec = tree::make(&mut fixed, "spec");
        for field in ["nodeSelector", "tolerations", "schedulingGates"] {
            tree::restore(spec, at.get("spec").value, field);
        }
        let affinity = at.get2("spec", "affinity");
        tree::restore(tree::make(spec, "affinity"), affinity.value, "nodeAffinity");
    }
    faults.immutable(&at, &At::root(&fixed));
}
