//! Server-side apply, case by case.

use schema::Schema;
use serde_json::{Value, json};

use super::{Applied, ApplyError, apply};
use crate::managers::{OneVersion, Write, decode, encode};

fn deployment() -> Schema {
    schema::for_kind("apps", "v1", "Deployment").unwrap()
}

/// Applies and gives back the object with its owners, as a server keeps it.
fn applied(live: &Value, object: &Value, manager: &str, force: bool) -> Result<Value, String> {
    let schema = deployment();
    let write = Write {
        manager,
        time: "2026-01-01T00:00:00Z",
        api_version: "apps/v1",
        subresource: "",
        schema: &schema,
        ignored: &["status"],
        versions: &OneVersion,
    };
    let mut bare = live.clone();
    let owners = bare["metadata"].as_object_mut().and_then(|map| map.remove("managedFields"));
    let owners = owners.map(|list| decode(&list).unwrap()).unwrap_or_default();
    let is_new = live.get("spec").is_none();
    let result =
        apply(&bare, object, owners, is_new, force, &write).map_err(|error| error.to_string())?;
    let Applied { mut object, managers, .. } = result;
    if let Some(list) = encode(managers) {
        object["metadata"]["managedFields"] = list;
    }
    Ok(object)
}

fn empty() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}})
}

fn web(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

fn owned_by(object: &Value, manager: &str) -> Value {
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    list.iter().find(|e| e["manager"] == manager).map(|e| e["fieldsV1"].clone()).unwrap_or_default()
}

#[test]
fn a_new_object_is_owned_by_who_applies_it() {
    let object = applied(&empty(), &web(json!({"replicas": 1})), "a", false).unwrap();
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{"manager": "a", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}])
    );
}

#[test]
fn a_conflict_names_field_and_owner() {
    let live = applied(&empty(), &web(json!({"replicas": 1, "paused": true})), "a", false).unwrap();
    let error = applied(&live, &web(json!({"replicas": 2})), "b", false).unwrap_err();
    assert_eq!(error, "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas");
    let error =
        applied(&live, &web(json!({"replicas": 2, "paused": false})), "b", false).unwrap_err();
    assert_eq!(
        error,
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.paused\n- .spec.replicas"
    );

    let mut live = live;
    live["metadata"]["managedFields"][0]["operation"] = json!("Update");
    let error = applied(&live, &web(json!({"replicas": 2})), "b", false).unwrap_err();
    assert_eq!(
        error,
        "Apply failed with 1 conflict: conflict with \"a\" using apps/v1: .spec.replicas"
    );
    live["metadata"]["managedFields"][0]["subresource"] = json!("scale");
    let error = applied(&live, &web(json!({"replicas": 2})), "b", false).unwrap_err();
    assert_eq!(
        error,
        "Apply failed with 1 conflict: conflict with \"a\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn force_takes_and_the_same_value_is_shared() {
    let live = applied(&empty(), &web(json!({"replicas": 1, "paused": true})), "a", false).unwrap();
    let shared = applied(&live, &web(json!({"replicas": 1})), "b", false).unwrap();
    assert_eq!(owned_by(&shared, "b"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(owned_by(&shared, "a"), json!({"f:spec": {"f:paused": {}, "f:replicas": {}}}));
    let forced = applied(&live, &web(json!({"replicas": 2})), "b", true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 2);
    assert_eq!(owned_by(&forced, "a"), json!({"f:spec": {"f:paused": {}}}));
}

#[test]
fn what_is_applied_no_more_goes_unless_others_own_it() {
    let containers = |list: Value| web(json!({"template": {"spec": {"containers": list}}}));
    let both = containers(json!([{"name": "x", "image": "1"}, {"name": "y", "image": "1"}]));
    let live = applied(&empty(), &both, "a", false).unwrap();
    let live =
        applied(&live, &containers(json!([{"name": "y", "image": "1"}])), "b", false).unwrap();
    let one = containers(json!([{"name": "x", "image": "1"}]));
    let object = applied(&live, &one, "a", false).unwrap();
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"],
        both["spec"]["template"]["spec"]["containers"]
    );
    let gone = applied(&object, &web(json!({"replicas": 1})), "b", false).unwrap();
    assert_eq!(
        gone["spec"]["template"]["spec"]["containers"],
        json!([{"name": "x", "image": "1"}])
    );
    assert_eq!(gone["spec"]["replicas"], 1);
}

#[test]
fn defaults_below_a_shared_item_stay() {
    let container = |extra: Value| {
        let mut container = json!({"name": "x", "image": "1"});
        container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        web(json!({"template": {"spec": {"containers": [container]}}}))
    };
    let mut live = applied(&empty(), &container(json!({"workingDir": "/"})), "a", false).unwrap();
    live["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    let object = applied(&live, &container(json!({})), "a", false).unwrap();
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"],
        json!([{"name": "x", "image": "1", "imagePullPolicy": "Always"}])
    );
}

#[test]
fn applied_items_come_in_the_applied_order() {
    let list = |names: &[&str]| {
        let items: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        web(json!({"template": {"spec": {"containers": items}}}))
    };
    let cases: [(&[&str], &[&str], &[&str]); 6] = [
        (&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]),
        (&["a", "b"], &["c"], &["a", "b", "c"]),
        (&["a", "b", "c"], &["a", "x", "c"], &["a", "b", "x", "c"]),
        (&["a", "b", "c"], &["a", "b", "c"], &["a", "b", "c"]),
        (&["a"], &["b", "a"], &["b", "a"]),
        (&[], &["b", "a"], &["b", "a"]),
    ];
    for (live, new, expected) in cases {
        let merged = super::merge::merge(&list(live), &list(new), &deployment());
        assert_eq!(merged, list(expected), "{live:?} {new:?}");
    }
}

#[test]
fn the_past_before_the_first_apply_has_an_owner() {
    let live = web(json!({"replicas": 1}));
    let error = applied(&live, &web(json!({"replicas": 2})), "a", false).unwrap_err();
    assert_eq!(
        error,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn kubectl_keeps_what_it_applied_on_the_client() {
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let mut live = web(json!({"replicas": 1}));
    live["metadata"]["annotations"] = json!({annotation: web(json!({"replicas": 1})).to_string()});
    let object = applied(&live, &web(json!({"replicas": 2})), "kubectl", false).unwrap();
    assert_eq!(object["spec"]["replicas"], 2);
    let text = object["metadata"]["annotations"][annotation].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), web(json!({"replicas": 2})));
    assert!(applied(&live, &web(json!({"replicas": 2})), "other", false).is_err());
}

#[test]
fn what_does_not_fit_is_refused() {
    let schema = deployment();
    let write = Write {
        manager: "a",
        time: "t",
        api_version: "apps/v1",
        subresource: "",
        schema: &schema,
        ignored: &[],
        versions: &OneVersion,
    };
    let error = apply(&empty(), &web(json!({"x": 1, "y": 1})), Vec::new(), true, false, &write)
        .unwrap_err();
    assert!(matches!(error, ApplyError::Invalid(_)));
    assert_eq!(
        error.to_string(),
        "errors:\n  .spec.x: field not declared in schema\n  .spec.y: field not declared in schema"
    );
}

/// As many as fit into a request: a look at all others for each, or a copy of all fields for each conflict, would take
/// minutes and gigabytes.
#[test]
fn many_items_merge_and_conflict_in_time() {
    let list = |image: &str| {
        let items: Vec<Value> =
            (0..10_000).map(|n| json!({"name": format!("c{n}"), "image": image})).collect();
        web(json!({"template": {"spec": {"containers": items}}}))
    };
    let live = applied(&empty(), &list("a"), "first", false).unwrap();
    let error = applied(&live, &list("b"), "second", false).unwrap_err();
    assert!(error.starts_with("Apply failed with 10000 conflicts: conflicts with \"first\":\n- "));
    let forced = applied(&live, &list("b"), "second", true).unwrap();
    assert_eq!(forced["spec"], list("b")["spec"]);
}
