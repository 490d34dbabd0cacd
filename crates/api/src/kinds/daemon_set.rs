//! `apps/v1 DaemonSet`: one pod per node.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, pod_spec, row, tree, workload};
use crate::resource::{Cell, Column, Names, Resource, Strategy, Subresource};

struct DaemonSet;

/// Old templates kept for `rollout undo`.
const REVISIONS_KEPT: i64 = 10;
/// Where the number of the template was kept before ControllerRevisions; upstream still keeps it there.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

const RULE: workload::TemplateRule = workload::TemplateRule {
    kind: "DaemonSet",
    is_spec_checked: true,
    is_empty_selector_checked: true,
    unusable_selector: None,
};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["ds"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::STATUS],
        columns: columns(),
        has_status: true,
        has_generation: true,
        ..row("apps", "v1", "DaemonSet", "daemonsets", &DaemonSet)
    }]
}

fn columns() -> Vec<Column> {
    let mut columns = vec![
        Column::integer(
            "Desired",
            Cell::Compute(|o, _| tree::count(o, "/status/desiredNumberScheduled").into()),
        ),
        Column::integer(
            "Current",
            Cell::Compute(|o, _| tree::count(o, "/status/currentNumberScheduled").into()),
        ),
        Column::integer(
            "Ready",
            Cell::Compute(|o, _| tree::count(o, "/status/numberReady").into()),
        ),
        Column::integer(
            "Up-to-date",
            Cell::Compute(|o, _| tree::count(o, "/status/updatedNumberScheduled").into()),
        ),
        Column::integer(
            "Available",
            Cell::Compute(|o, _| tree::count(o, "/status/numberAvailable").into()),
        ),
        Column::new(
            "Node Selector",
            Cell::Compute(|o, _| cells::labels(o, "/spec/template/spec/nodeSelector").into()),
        ),
        cells::age(),
    ];
    columns.extend(cells::workload_wide());
    columns
}

fn template_generation(object: &Value) -> i64 {
    let text = crate::meta::annotation(object, TEMPLATE_GENERATION).unwrap_or_default();
    text.parse().unwrap_or_default()
}

fn set_template_generation(object: &mut Value, generation: i64) {
    let annotations = tree::make(tree::make(object, "metadata"), "annotations");
    tree::set(annotations, TEMPLATE_GENERATION, generation.to_string());
}

fn validate_spec(spec: &At<'_>, faults: &mut Faults) {
    faults.label_selector(&spec.get("selector"));
    let selector = spec.get("selector");
    workload::template(spec, &RULE, faults);
    if selector.is_set()
        && workload::matches(selector.value, &Value::Null)
        && selector_is_empty(&selector)
    {
        faults.invalid(&selector, "empty selector is invalid for daemonset");
    }
    faults.non_negative(&spec.get("minReadySeconds"));
    strategy(&spec.get("updateStrategy"), faults);
    faults.non_negative(&spec.get("revisionHistoryLimit"));
}

fn selector_is_empty(selector: &At<'_>) -> bool {
    selector.get("matchLabels").len() + selector.get("matchExpressions").len() == 0
}

fn strategy(at: &At<'_>, faults: &mut Faults) {
    let rolling = at.get("rollingUpdate");
    match at.get("type").text() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.is_set() => faults.required(&rolling, ""),
        "RollingUpdate" => rolling_update(&rolling, faults),
        _ => faults.not_supported(at, &["RollingUpdate", "OnDelete"]),
    }
}

fn rolling_update(at: &At<'_>, faults: &mut Faults) {
    let (unavailable, surge) = (at.get("maxUnavailable"), at.get("maxSurge"));
    for part in [&unavailable, &surge] {
        workload::int_or_percent(part, faults);
    }
    for part in [&unavailable, &surge] {
        workload::at_most_all(part, faults);
    }
    match (workload::is_some(&unavailable), workload::is_some(&surge)) {
        (true, true) => faults.invalid(&surge, "may not be set when maxUnavailable is non-zero"),
        (false, false) => faults.required(&unavailable, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        let strategy = tree::make(spec, "updateStrategy");
        tree::fill_zero(strategy, "type", "RollingUpdate");
        if tree::text(strategy, "/type") == "RollingUpdate" {
            let rolling = tree::make(strategy, "rollingUpdate");
            tree::fill(rolling, "maxUnavailable", 1);
            tree::fill(rolling, "maxSurge", 0);
        }
        tree::fill(spec, "revisionHistoryLimit", REVISIONS_KEPT);
        pod_spec::defaults::template(tree::make(spec, "template"));
    }

    fn prepare_for_create(&self, object: &mut Value) {
        let generation = template_generation(object).max(1);
        set_template_generation(object, generation);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value) {
        let is_same = tree::same_at(new, old, "/spec/template");
        set_template_generation(new, template_generation(old).saturating_add(i64::from(!is_same)));
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate_spec(&At::root(object).get("spec"), &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let (new, old) = (At::root(new), At::root(old));
        let mut faults = Faults::default();
        validate_spec(&new.get("spec"), &mut faults);
        faults.immutable(&new.get2("spec", "selector"), &old.get2("spec", "selector"));
        faults.0
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        let template = At::root(new).get2("spec", "template");
        pod_spec::warnings::of_spec(&template.get("spec"), &mut warnings);
        warnings
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let status = At::root(new).get("status");
        let mut faults = Faults::default();
        let counters = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
        ];
        workload::counters(&status, &counters, &mut faults);
        workload::collision_count(new, old, &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    fn sample() -> Value {
        let mut object = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"nodeSelector": {"x": "y"}, "containers": [{"name": "c", "image": "i"}]}}}});
        DaemonSet.default(&mut object);
        object
    }

    #[test]
    fn defaults_and_columns() {
        let object = sample();
        assert_eq!(
            object["spec"]["updateStrategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
        );
        assert_eq!(show(&DaemonSet.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:07Z"),
            ["0", "0", "0", "0", "0", "x=y", "7s", "c", "i", "a=b"]
        );
    }

    #[test]
    fn surge_and_unavailable_exclude_each_other() {
        let mut object = sample();
        object["spec"]["updateStrategy"]["rollingUpdate"] =
            json!({"maxUnavailable": 1, "maxSurge": 1});
        assert_eq!(
            show(&DaemonSet.validate(&object)),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"
        );
    }

    #[test]
    fn the_template_is_numbered() {
        let mut old = sample();
        DaemonSet.prepare_for_create(&mut old);
        assert_eq!(template_generation(&old), 1);
        let mut new = old.clone();
        DaemonSet.prepare_for_update(&mut new, &old);
        assert_eq!(template_generation(&new), 1);
        new["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
        DaemonSet.prepare_for_update(&mut new, &old);
        assert_eq!(template_generation(&new), 2);
    }
}
