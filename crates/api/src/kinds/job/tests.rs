//! Jobs: defaults, the generated selector, faults, columns.

use super::*;
use crate::kinds::check::show;

fn sample() -> Value {
    let mut object = json!({
        "metadata": {"name": "j", "uid": "u-1", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    Job.default(&mut object);
    Job.prepare_for_create(&mut object);
    object
}

#[test]
fn defaults_are_upstreams() {
    let object = sample();
    let mut spec = object["spec"].clone();
    tree::remove(&mut spec, "template");
    assert_eq!(
        spec,
        json!({"completions": 1, "parallelism": 1, "backoffLimit": 6, "suspend": false,
            "completionMode": "NonIndexed", "manualSelector": false,
            "podReplacementPolicy": "TerminatingOrFailed",
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}})
    );
    assert_eq!(
        object["spec"]["template"]["metadata"]["labels"],
        json!({"a": "b", "controller-uid": "u-1", "batch.kubernetes.io/controller-uid": "u-1",
            "job-name": "j", "batch.kubernetes.io/job-name": "j"})
    );
    // As upstream, where the two share a map.
    assert_eq!(object["metadata"]["labels"], object["spec"]["template"]["metadata"]["labels"]);
    let mut labelled = json!({"metadata": {"name": "j", "uid": "u-1", "labels": {"own": "x"}},
        "spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
    Job.default(&mut labelled);
    assert_eq!(labelled["metadata"]["labels"], json!({"own": "x"}));
    assert_eq!(show(&Job.validate(&object)), "");
}

#[test]
fn faults_read_as_upstreams() {
    let cases = [
        (
            "/spec/parallelism",
            json!(-1),
            "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "/spec/template/spec/restartPolicy",
            json!("Always"),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (
            "/spec/completionMode",
            json!("Other"),
            "spec.completionMode: Unsupported value: \"Other\": supported values: \"Indexed\", \"NonIndexed\"",
        ),
        (
            "/spec/selector",
            json!({"matchLabels": {"a": "b"}}),
            "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` not auto-generated",
        ),
    ];
    for (pointer, value, text) in cases {
        let mut object = sample();
        *object.pointer_mut(pointer).unwrap() = value;
        assert_eq!(show(&Job.validate(&object)), text, "{pointer}");
    }
}

#[test]
fn the_template_is_fixed_once_started() {
    let old = sample();
    let mut new = old.clone();
    new["spec"]["suspend"] = json!(true);
    new["spec"]["parallelism"] = json!(3);
    assert_eq!(show(&Job.validate_update(&new, &old)), "");
    new["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
    assert!(show(&Job.validate_update(&new, &old)).ends_with("field is immutable"));
    let mut suspended = old.clone();
    suspended["spec"]["suspend"] = json!(true);
    assert_eq!(show(&Job.validate_update(&new, &suspended)), "");
    let mut more = old.clone();
    more["spec"]["completions"] = json!(2);
    assert_eq!(
        show(&Job.validate_update(&more, &old)),
        "spec.completions: Invalid value: 2: field is immutable"
    );
}

#[test]
fn conditions_do_not_contradict() {
    let old = sample();
    let mut new = old.clone();
    new["status"] = json!({"active": 1, "conditions": [{"type": "Failed", "status": "True"}]});
    assert_eq!(
        show(&Job.validate_status_update(&new, &old)),
        "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition\n\
         status.active: Invalid value: 1: active>0 is invalid for finished job\n\
         status.startTime: Required value: startTime is required for finished job"
    );
}

#[test]
fn columns_show_how_far_it_is() {
    let mut object = sample();
    object["status"] = json!({"startTime": "2026-01-01T00:00:01Z", "succeeded": 1,
        "completionTime": "2026-01-01T00:02:01Z", "conditions": [{"type": "Complete", "status": "True"}]});
    assert_eq!(
        cells::show(&rows()[0], &object, "2026-01-01T01:00:00Z"),
        ["Complete", "1/1", "2m", "60m", "c", "i", "batch.kubernetes.io/controller-uid=u-1"]
    );
}

#[test]
fn index_texts_are_counted() {
    assert_eq!(validate::count_indexes("0,2-4", 5), Ok(4));
    for (text, fault) in [
        ("1,1", "non-increasing order, previous: 1, current: 1"),
        ("5", "too large index: \"5\""),
        ("a", "cannot convert string to integer for index: \"a\""),
    ] {
        assert_eq!(validate::count_indexes(text, 5), Err(fault.to_owned()));
    }
}
