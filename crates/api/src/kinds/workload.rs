//! What the kinds that make pods from a template share: selector, template, rolling updates, status counters.

use serde_json::Value;

use super::check::{At, Faults};
use super::{pod_spec, tree};

/// What a kind asks of its pod template beside that it is valid.
pub(super) struct TemplateRule {
    /// Kind as the text about `activeDeadlineSeconds` has it.
    pub(super) kind: &'static str,
    /// Whether the pod's spec is checked too.
    pub(super) is_spec_checked: bool,
    /// Whether the labels are held against an empty selector too.
    pub(super) is_empty_selector_checked: bool,
    /// What is said of a selector that cannot be used, instead of looking at the template; nothing where the
    /// template is looked at all the same.
    pub(super) unusable_selector: Option<&'static str>,
}

impl TemplateRule {
    /// Of Deployment and ReplicaSet.
    pub(super) const ALWAYS: Self = Self {
        kind: "ReplicaSet",
        is_spec_checked: true,
        is_empty_selector_checked: false,
        unusable_selector: Some("invalid label selector"),
    };
}

/// A label selector that must be there and may not be empty.
pub(super) fn selector(at: &At<'_>, empty: &str, faults: &mut Faults) {
    if !at.is_set() {
        faults.required(at, "");
        return;
    }
    faults.label_selector(at);
    if is_empty(at.value) {
        faults.invalid(at, empty);
    }
}

fn is_empty(selector: &Value) -> bool {
    tree::entries(selector, "/matchLabels").next().is_none()
        && tree::list(selector, "/matchExpressions").is_empty()
}

/// Whether a label selector fits labels; none fits nothing, an empty one everything.
pub(super) fn matches(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let have = |key: &str| labels.get(key).and_then(Value::as_str);
    tree::entries(selector, "/matchLabels").all(|(key, value)| have(key) == value.as_str())
        && tree::list(selector, "/matchExpressions").iter().all(|requirement| {
            let value = have(tree::text(requirement, "/key"));
            let values = tree::texts(requirement, "/values");
            match tree::text(requirement, "/operator") {
                "In" => value.is_some_and(|value| values.contains(&value)),
                "NotIn" => value.is_none_or(|value| !values.contains(&value)),
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

/// `template` of a spec with a `selector`: the two must fit, and pods must be restarted always.
pub(super) fn template(spec: &At<'_>, rule: &TemplateRule, faults: &mut Faults) {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    if is_usable(&selector) {
        labels_match(&selector, &template, rule.is_empty_selector_checked, faults);
    } else if let Some(text) = rule.unusable_selector {
        faults.invalid(&selector, text);
        return;
    }
    if rule.is_spec_checked {
        pod_spec::template::validate(&template, faults);
    } else {
        pod_spec::template::validate_metadata(&template, faults);
    }
    let policy = template.get2("spec", "restartPolicy");
    if policy.text() != "Always" {
        faults.not_supported(&policy, &["Always"]);
    }
    let deadline = template.get2("spec", "activeDeadlineSeconds");
    if deadline.is_set() {
        let text = format!("activeDeadlineSeconds in {} is not Supported", rule.kind);
        faults.forbidden(&deadline, text);
    }
}

/// Whether the selector is free of faults, which are told elsewhere.
pub(super) fn is_usable(selector: &At<'_>) -> bool {
    let mut faults = Faults::default();
    faults.label_selector(selector);
    faults.0.is_empty()
}

fn labels_match(selector: &At<'_>, template: &At<'_>, is_empty_checked: bool, faults: &mut Faults) {
    if selector.is_set() && is_empty(selector.value) && !is_empty_checked {
        return;
    }
    let labels = template.get2("metadata", "labels");
    if !matches(selector.value, labels.value) {
        let shown = if labels.is_set() { labels.value.clone() } else { Value::Null };
        faults.invalid_as(&labels, shown, "`selector` does not match template `labels`");
    }
}

const PERCENT_TEXT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(i64::MAX))
}

/// A count that is not negative, or a percentage.
pub(super) fn int_or_percent(at: &At<'_>, faults: &mut Faults) {
    match at.value {
        Value::String(text) if percent(text).is_none() => faults.invalid(at, PERCENT_TEXT),
        _ => faults.non_negative(at),
    }
}

/// A percentage is at most 100.
pub(super) fn at_most_all(at: &At<'_>, faults: &mut Faults) {
    if percent(at.text()).is_some_and(|percent| percent > 100) {
        faults.invalid(at, "must not be greater than 100%");
    }
}

/// Whether a count or percentage is more than nothing.
pub(super) fn is_some(at: &At<'_>) -> bool {
    percent(at.text()).or_else(|| at.int()).unwrap_or_default() != 0
}

/// `rollingUpdate` of a Deployment.
pub(super) fn rolling_update(at: &At<'_>, faults: &mut Faults) {
    let (unavailable, surge) = (at.get("maxUnavailable"), at.get("maxSurge"));
    int_or_percent(&unavailable, faults);
    int_or_percent(&surge, faults);
    if !is_some(&unavailable) && !is_some(&surge) {
        faults.invalid(&unavailable, "may not be 0 when `maxSurge` is 0");
    }
    at_most_all(&unavailable, faults);
}

/// Counters of a status that may not be negative, the observed generation among them.
pub(super) fn counters(status: &At<'_>, names: &[&str], faults: &mut Faults) {
    for name in names {
        faults.non_negative(&status.get(name));
    }
    faults.non_negative(&status.get("observedGeneration"));
}

/// Counters that may not be more than `replicas`.
pub(super) fn not_more_than_replicas(status: &At<'_>, names: &[&str], faults: &mut Faults) {
    let replicas = status.get("replicas").int().unwrap_or_default();
    for name in names {
        let counter = status.get(name);
        if counter.int().unwrap_or_default() > replicas {
            faults.invalid(&counter, "cannot be greater than status.replicas");
        }
    }
}

/// What is available must be ready.
pub(super) fn available_of_ready(status: &At<'_>, faults: &mut Faults) {
    let available = status.get("availableReplicas");
    if available.int().unwrap_or_default() > status.get("readyReplicas").int().unwrap_or_default() {
        faults.invalid(&available, "cannot be greater than readyReplicas");
    }
}

/// The count of name collisions only grows.
pub(super) fn collision_count(new: &Value, old: &Value, faults: &mut Faults) {
    let at = At::root(new).get2("status", "collisionCount");
    faults.non_negative(&at);
    let before = tree::int(old, "/status/collisionCount");
    if before.is_some_and(|before| at.int().is_none_or(|now| now < before)) {
        faults.invalid_as(&at, at.int().unwrap_or_default(), "cannot be decremented");
    }
}
