//! Patches, of which only what they change is checked again.

use serde_json::{Value, json};

use crate::bench::{Bench, admin};

const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";
const MERGE: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];
const STRATEGIC: [(&str, &str); 1] = [("content-type", "application/strategic-merge-patch+json")];
const JSON_PATCH: [(&str, &str); 1] = [("content-type", "application/json-patch+json")];

async fn start() -> Bench {
    let bench = Bench::start().await;
    let template = json!({"apiVersion": "v1", "kind": "PodTemplate",
        "metadata": {"name": "a", "labels": {"kept": "1"}, "annotations": {"note": "x"}},
        "template": {"spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "E"}]}]}}});
    let made = bench.ask(&admin(), &format!("POST {TEMPLATES}"), template).await;
    assert_eq!(made.code, 201, "{}", made.text());
    bench
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let bench = start().await;
    let at = format!("PATCH {TEMPLATES}/a?fieldValidation=Warn");
    let before = bench.ask(&admin(), &format!("GET {TEMPLATES}/a"), Value::Null).await.json();
    let patch =
        json!({"metadata": {"labels": {"new": "2"}, "annotations": null, "odd": 1}, "even": 2});
    let patched = bench.ask_with(&admin(), &at, &MERGE, patch).await;
    assert_eq!(patched.code, 200, "{}", patched.text());
    assert_eq!(patched.header("warning"), "299 - \"unknown field \\\"even\\\"\"");
    let after = patched.json();
    assert_eq!(after["metadata"]["labels"], json!({"kept": "1", "new": "2"}));
    assert_eq!((&after["metadata"]["annotations"], &after["even"]), (&Value::Null, &Value::Null));
    assert_eq!(after["metadata"]["odd"], Value::Null);
    for place in ["/template", "/metadata/uid", "/metadata/creationTimestamp"] {
        assert_eq!(after.pointer(place), before.pointer(place), "{place}");
    }
    bench.finish().await;
}

/// Words of the message after the value, which is the patch as Go prints it, or the whole object.
#[tokio::test]
async fn what_a_patch_makes_has_to_fit_its_kind() {
    let bench = start().await;
    let at = format!("PATCH {TEMPLATES}/a");
    let go = "json: cannot unmarshal";
    let labels = "into Go struct field ObjectMeta.metadata.labels of type";
    for (patch, strategic, other) in [
        (
            json!({"metadata": {"labels": "x"}}),
            "map[metadata:map[labels:x]]\": cannot restore map from string".to_owned(),
            format!("{go} string {labels} map[string]string"),
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "map[metadata:map[labels:map[a:1]]]\": cannot convert int64 to string".to_owned(),
            format!("{go} number {labels} string"),
        ),
        (
            json!({"metadata": {"finalizers": {"a": 1}}}),
            "map[metadata:map[finalizers:map[a:1]]]\": cannot restore slice from map".to_owned(),
            format!(
                "{go} object into Go struct field ObjectMeta.metadata.finalizers of type []string"
            ),
        ),
        (
            json!({"template": 5}),
            "map[template:5]\": cannot restore struct from: int64".to_owned(),
            format!(
                "{go} number into Go struct field PodTemplate.template of type v1.PodTemplateSpec"
            ),
        ),
    ] {
        for (media_type, why) in [(&STRATEGIC, strategic), (&MERGE, other)] {
            let refused = bench.ask_with(&admin(), &at, media_type, patch.clone()).await;
            let message = refused.json()["message"].as_str().unwrap_or_default().to_owned();
            assert_eq!(refused.code, 422, "{message}");
            assert!(message.starts_with(" \"\" is invalid: patch: Invalid value: \""), "{message}");
            assert!(message.ends_with(&why), "{message}\n{why}");
        }
    }
    let other_kind = json!({"kind": "Other", "apiVersion": "v1"});
    let ignored = bench.ask_with(&admin(), &at, &STRATEGIC, other_kind.clone()).await;
    assert_eq!((ignored.code, &ignored.json()["kind"]), (200, &json!("PodTemplate")));
    let refused = bench.ask_with(&admin(), &at, &MERGE, other_kind).await;
    assert_eq!(refused.code, 422);
    assert!(refused.text().contains("no kind \\\"Other\\\" is registered for version"));
    for (media_type, prefix) in [(&STRATEGIC, ""), (&MERGE, "error decoding patch: ")] {
        let refused = bench.ask_with(&admin(), &at, media_type, json!([])).await;
        let why = "json: cannot unmarshal array into Go value of type map[string]interface {}";
        assert_eq!(
            (refused.code, &refused.json()["message"]),
            (400, &json!(format!("{prefix}{why}")))
        );
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_body_that_is_no_object_of_the_kind_is_shown() {
    let bench = Bench::start().await;
    let unrecognized = "the object provided is unrecognized (must be of type Namespace): couldn't get version/kind; json parse error:";
    let refused = bench.ask(&admin(), "POST /api/v1/namespaces", json!("text")).await;
    let message = refused.json()["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(refused.code, 400);
    assert!(message.starts_with(unrecognized) && message.ends_with(" (227465787422)"), "{message}");
    for (body, why) in [
        (
            json!({"kind": 5}),
            format!("{unrecognized} json: cannot unmarshal number into Go struct field .kind of type string ({{\"kind\":5}})"),
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1"}),
            "Pod in version \"v1\" cannot be handled as a Namespace: converting (v1.Pod) to (core.Namespace): unknown conversion".to_owned(),
        ),
        (
            json!({"kind": "Nope", "apiVersion": "apps/v1"}),
            "Nope in version \"v1\" cannot be handled as a Namespace: no kind \"Nope\" is registered for version \"apps/v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"".to_owned(),
        ),
    ] {
        let refused = bench.ask(&admin(), "POST /api/v1/namespaces", body).await;
        assert_eq!((refused.code, &refused.json()["message"]), (400, &json!(why)));
    }
    bench.finish().await;
}

#[tokio::test]
async fn an_object_does_not_grow_patch_by_patch_without_end() {
    let bench = start().await;
    let value = "x".repeat(2_000_000);
    let patch = json!([{"op": "add", "path": "/template/spec/containers/0/env/-",
        "value": {"name": "BIG", "value": value}}]);
    let at = format!("PATCH {TEMPLATES}/a");
    let codes = [
        bench.ask_with(&admin(), &at, &JSON_PATCH, patch.clone()).await.code,
        bench.ask_with(&admin(), &at, &JSON_PATCH, patch).await.code,
    ];
    assert_eq!(codes, [200, 413]);
    bench.finish().await;
}

#[tokio::test]
async fn what_a_path_does_not_change_has_no_owner() {
    let bench = Bench::start().await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "spec": {"podCIDR": "10.1.0.0/24"}, "status": {"capacity": {"cpu": "1"}}});
    let applied = bench
        .ask_with(
            &admin(),
            "PATCH /api/v1/nodes/n?fieldManager=a",
            &[("content-type", "application/apply-patch+yaml")],
            node,
        )
        .await;
    assert_eq!(applied.code, 201, "{}", applied.text());
    let applied = applied.json();
    assert_eq!(applied["status"]["capacity"]["cpu"], "1");
    assert_eq!(
        applied["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:spec": {"f:podCIDR": {}}})
    );
}
