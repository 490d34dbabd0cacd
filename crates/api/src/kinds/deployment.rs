//! `apps/v1 Deployment`: rolls ReplicaSets.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, pod_spec, row, tree, workload};
use crate::meta;
use crate::resource::{Cell, Column, Names, Resource, Strategy, Subresource};

struct Deployment;

/// Old ReplicaSets kept for `rollout undo`.
const REVISIONS_KEPT: i64 = 10;
/// Seconds without progress after which a rollout counts as failed.
const PROGRESS_SECONDS: i64 = 600;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["deploy"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::SCALE, Subresource::STATUS],
        columns: columns(),
        has_status: true,
        has_generation: true,
        ..row("apps", "v1", "Deployment", "deployments", &Deployment)
    }]
}

fn columns() -> Vec<Column> {
    let mut columns = vec![
        Column::new("Ready", Cell::Compute(|d, _| ready(d).into())),
        Column::new("Up-to-date", Cell::Compute(|d, _| number(d, "/status/updatedReplicas"))),
        Column::new("Available", Cell::Compute(|d, _| number(d, "/status/availableReplicas"))),
        cells::age(),
    ];
    columns.extend(cells::workload_wide());
    columns
}

fn number(object: &Value, pointer: &str) -> Value {
    tree::count(object, pointer).into()
}

fn ready(object: &Value) -> String {
    let ready = tree::count(object, "/status/readyReplicas");
    format!("{ready}/{}", tree::count(object, "/spec/replicas"))
}

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        tree::fill(spec, "replicas", 1);
        tree::fill(spec, "revisionHistoryLimit", REVISIONS_KEPT);
        tree::fill(spec, "progressDeadlineSeconds", PROGRESS_SECONDS);
        let strategy = tree::make(spec, "strategy");
        tree::fill_zero(strategy, "type", "RollingUpdate");
        if tree::text(strategy, "/type") == "RollingUpdate" {
            let rolling = tree::make(strategy, "rollingUpdate");
            tree::fill(rolling, "maxUnavailable", "25%");
            tree::fill(rolling, "maxSurge", "25%");
        }
        pod_spec::defaults::template(tree::make(spec, "template"));
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        meta::keep(new, old, &["labels"]);
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

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let status = At::root(new).get("status");
        let mut faults = Faults::default();
        workload::counters(
            &status,
            &["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"],
            &mut faults,
        );
        faults.non_negative(&status.get("unavailableReplicas"));
        workload::not_more_than_replicas(
            &status,
            &["updatedReplicas", "readyReplicas", "availableReplicas"],
            &mut faults,
        );
        workload::available_of_ready(&status, &mut faults);
        workload::collision_count(new, old, &mut faults);
        faults.0
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        let template = At::root(new).get2("spec", "template");
        pod_spec::warnings::of_spec(&template.get("spec"), &mut warnings);
        warnings
    }
}

fn validate_spec(spec: &At<'_>, faults: &mut Faults) {
    faults.non_negative(&spec.get("replicas"));
    let selector = spec.get("selector");
    workload::selector(&selector, "empty selector is invalid for deployment", faults);
    workload::template(spec, &workload::TemplateRule::ALWAYS, faults);
    strategy(&spec.get("strategy"), faults);
    faults.non_negative(&spec.get("minReadySeconds"));
    faults.non_negative(&spec.get("revisionHistoryLimit"));
    if let Some(deadline) = spec.get("progressDeadlineSeconds").int() {
        let at = spec.get("progressDeadlineSeconds");
        faults.non_negative(&at);
        if deadline <= spec.get("minReadySeconds").int().unwrap_or_default() {
            faults.invalid(&at, "must be greater than minReadySeconds");
        }
    }
}

fn strategy(at: &At<'_>, faults: &mut Faults) {
    let rolling = at.get("rollingUpdate");
    match at.get("type").text() {
        "Recreate" if rolling.is_set() => {
            faults.forbidden(&rolling, "may not be specified when strategy `type` is 'Recreate'")
        }
        "Recreate" => {}
        "RollingUpdate" if !rolling.is_set() => {
            faults.required(&rolling, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => workload::rolling_update(&rolling, faults),
        // Upstream shows the strategy as a whole.
        _ => faults.not_supported(at, &["Recreate", "RollingUpdate"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    fn sample() -> Value {
        let mut object = json!({"metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}});
        Deployment.default(&mut object);
        object
    }

    #[test]
    fn the_status_does_not_change_labels() {
        let mut old = sample();
        meta::set(&mut old, "labels", json!({"a": "1"}));
        let mut new = old.clone();
        meta::set(&mut new, "labels", json!({"a": "2"}));
        meta::set(&mut new, "annotations", json!({"b": "1"}));
        Deployment.prepare_for_status_update(&mut new, &old);
        assert_eq!(meta::label(&new, "a"), Some("1"));
        assert_eq!(meta::annotation(&new, "b"), Some("1"));
    }

    #[test]
    fn defaults_are_upstreams() {
        let object = sample();
        assert_eq!(object["spec"]["replicas"], 1);
        assert_eq!(object["spec"]["progressDeadlineSeconds"], 600);
        assert_eq!(object["spec"]["revisionHistoryLimit"], 10);
        assert_eq!(
            object["spec"]["strategy"],
            json!({"type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        assert_eq!(object["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
        assert_eq!(show(&Deployment.validate(&object)), "");
    }

    #[test]
    fn faults_read_as_upstreams() {
        let cases = [
            (
                "/spec/replicas",
                json!(-1),
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                "/spec/selector",
                json!(null),
                "spec.selector: Required value\nspec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            ),
            (
                "/spec/selector",
                json!({}),
                "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
            ),
            (
                "/spec/template/metadata/labels",
                json!({"a": "b"}),
                "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
            ),
            (
                "/spec/template/spec/restartPolicy",
                json!("Never"),
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ),
            (
                "/spec/strategy/rollingUpdate",
                json!({"maxSurge": 0, "maxUnavailable": 0}),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            ),
            (
                "/spec/strategy/rollingUpdate/maxUnavailable",
                json!("101%"),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ),
            (
                "/spec/strategy/type",
                json!("Recreate"),
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ),
            (
                "/spec/strategy/type",
                json!("Big"),
                "spec.strategy: Unsupported value: {\"rollingUpdate\":{\"maxSurge\":\"25%\",\"maxUnavailable\":\"25%\"},\"type\":\"Big\"}: supported values: \"Recreate\", \"RollingUpdate\"",
            ),
            (
                "/spec/progressDeadlineSeconds",
                json!(0),
                "spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds",
            ),
        ];
        for (pointer, value, text) in cases {
            let mut object = sample();
            *object.pointer_mut(pointer).unwrap() = value;
            assert_eq!(show(&Deployment.validate(&object)), text, "{pointer}");
        }
    }

    #[test]
    fn the_selector_stays() {
        let old = sample();
        let mut new = old.clone();
        new["spec"]["selector"]["matchLabels"]["b"] = json!("c");
        new["spec"]["template"]["metadata"]["labels"]["b"] = json!("c");
        assert_eq!(
            show(&Deployment.validate_update(&new, &old)),
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"b\":\"c\"}}: field is immutable"
        );
    }

    #[test]
    fn columns_count() {
        let mut object = sample();
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["status"] = json!({"readyReplicas": 2, "updatedReplicas": 1});
        object["spec"]["replicas"] = json!(3);
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:05:30Z"),
            ["2/3", "1", "0", "5m30s", "c", "i:1", "app=web"]
        );
    }
}
