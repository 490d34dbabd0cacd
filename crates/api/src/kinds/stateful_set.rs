//! `apps/v1 StatefulSet`: pods with an identity and storage of their own.

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, persistent_volume_claim, pod_spec, row, tree, workload};
use crate::resource::{Cell, Column, NameRule, Names, Resource, Strategy, Subresource};

struct StatefulSet;

/// Old templates kept for `rollout undo`.
const REVISIONS_KEPT: i64 = 10;
/// Fields of the spec that may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "revisionHistoryLimit",
];

/// The pod's spec is checked when pods are made: its mounts may name claims that are templates here.
const RULE: workload::TemplateRule = workload::TemplateRule {
    kind: "StatefulSet",
    is_spec_checked: false,
    is_empty_selector_checked: false,
    unusable_selector: Some(""),
};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["sts"]),
        categories: Names::Static(&["all"]),
        subresources: vec![Subresource::SCALE, Subresource::STATUS],
        columns: columns(),
        name_rule: NameRule::Label,
        has_status: true,
        has_generation: true,
        ..row("apps", "v1", "StatefulSet", "statefulsets", &StatefulSet)
    }]
}

fn columns() -> Vec<Column> {
    let [containers, images, _selector] = cells::workload_wide();
    vec![
        Column::new("Ready", Cell::Compute(|o, _| ready(o).into())),
        cells::age(),
        containers,
        images,
    ]
}

fn ready(object: &Value) -> String {
    let ready = tree::count(object, "/status/readyReplicas");
    format!("{ready}/{}", tree::count(object, "/spec/replicas"))
}

fn update_strategy(spec: &mut Value) {
    let strategy = tree::make(spec, "updateStrategy");
    if tree::text(strategy, "/type").is_empty() {
        tree::set(strategy, "type", "RollingUpdate");
        tree::make(strategy, "rollingUpdate");
    }
    if let Some(rolling) = tree::child(strategy, "rollingUpdate") {
        tree::fill(rolling, "partition", 0);
    }
}

fn validate_spec(spec: &At<'_>, faults: &mut Faults) {
    let management = spec.get("podManagementPolicy");
    match management.text() {
        "" => faults.required(&management, ""),
        "OrderedReady" | "Parallel" => {}
        _ => faults.invalid(&management, "must be 'OrderedReady' or 'Parallel'"),
    }
    validate_strategy(&spec.get("updateStrategy"), faults);
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    if retention.is_set() {
        for when in ["whenDeleted", "whenScaled"] {
            if !matches!(retention.get(when).text(), "Retain" | "Delete") {
                faults.not_supported(&retention.get(when), &["Delete", "Retain"]);
            }
        }
    }
    faults.non_negative(&spec.get("replicas"));
    faults.non_negative(&spec.get("minReadySeconds"));
    faults.non_negative(&spec.get2("ordinals", "start"));
    let selector = spec.get("selector");
    workload::selector(&selector, "empty selector is invalid for statefulset", faults);
    workload::template(spec, &RULE, faults);
    faults.non_negative(&spec.get("revisionHistoryLimit"));
}

fn validate_strategy(at: &At<'_>, faults: &mut Faults) {
    let rolling = at.get("rollingUpdate");
    match at.get("type").text() {
        "" => faults.required(at, ""),
        "OnDelete" if rolling.is_set() => {
            faults.invalid(&rolling, "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            faults.non_negative(&rolling.get("partition"));
            let unavailable = rolling.get("maxUnavailable");
            if unavailable.is_set() {
                workload::int_or_percent(&unavailable, faults);
                if !workload::is_some(&unavailable) {
                    faults.invalid(&unavailable, "cannot be 0");
                }
                workload::at_most_all(&unavailable, faults);
            }
        }
        _ => faults.invalid(at, "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        tree::fill_zero(spec, "podManagementPolicy", "OrderedReady");
        update_strategy(spec);
        let retention = tree::make(spec, "persistentVolumeClaimRetentionPolicy");
        tree::fill_zero(retention, "whenDeleted", "Retain");
        tree::fill_zero(retention, "whenScaled", "Retain");
        tree::fill(spec, "replicas", 1);
        tree::fill(spec, "revisionHistoryLimit", REVISIONS_KEPT);
        pod_spec::defaults::template(tree::make(spec, "template"));
        tree::each(spec, "volumeClaimTemplates", |claim| {
            tree::set(claim, "apiVersion", "v1");
            tree::set(claim, "kind", "PersistentVolumeClaim");
            persistent_volume_claim::default(claim);
        });
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate_spec(&At::root(object).get("spec"), &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults(self.validate(new));
        let mut fixed = json!({"spec": new.get("spec").cloned().unwrap_or_default()});
        let (spec, old_spec) = (tree::make(&mut fixed, "spec"), &old["spec"]);
        for field in MUTABLE {
            tree::restore(spec, old_spec, field);
        }
        if !tree::same(spec, old_spec) {
            faults.forbidden(
                &At::root(new).get("spec"),
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            );
        }
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
        let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        faults.non_negative(&status.get("replicas"));
        workload::counters(&status, &parts, &mut faults);
        workload::not_more_than_replicas(&status, &parts, &mut faults);
        let available = status.get("availableReplicas");
        if available.int().unwrap_or_default() > tree::count(new, "/status/readyReplicas") {
            faults.invalid(&available, "cannot be greater than status.readyReplicas");
        }
        workload::collision_count(new, old, &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::check::show;

    fn sample() -> Value {
        let mut object = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}}, "serviceName": "s",
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}}],
            "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i",
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}}});
        StatefulSet.default(&mut object);
        object
    }

    #[test]
    fn defaults_and_columns() {
        let object = sample();
        assert_eq!(
            object["spec"]["updateStrategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
        );
        assert_eq!(
            object["spec"]["volumeClaimTemplates"][0],
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
                    "resources": {"requests": {"storage": "1Gi"}}},
                "status": {"phase": "Pending"}})
        );
        assert_eq!(show(&StatefulSet.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:07Z"),
            ["0/1", "7s", "c", "i"]
        );
    }

    #[test]
    fn only_some_fields_change() {
        let old = sample();
        let mut new = old.clone();
        new["spec"]["replicas"] = json!(5);
        new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("j");
        assert_eq!(show(&StatefulSet.validate_update(&new, &old)), "");
        new["spec"]["serviceName"] = json!("t");
        assert!(show(&StatefulSet.validate_update(&new, &old)).starts_with(
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas'"
        ));
    }
}
