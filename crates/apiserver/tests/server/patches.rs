//! Patches, of which only what they change is checked again.

use serde_json::{Value, json};

use crate::bench::{Bench, admin};

const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";
const MERGE: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];
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
    let wrong = json!({"metadata": {"labels": {"new": {}}}});
    let refused = bench.ask_with(&admin(), &at, &MERGE, wrong).await;
    assert_eq!(refused.code, 400, "{}", refused.text());
    let why = "json: cannot unmarshal object into Go struct field ObjectMeta.metadata.labels of type string";
    assert!(refused.text().contains(why), "{}", refused.text());
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
