//! Questions about access: what may be asked, and how the question is told back.

use serde_json::{Value, json};

use crate::bench::{Bench, admin};

const GROUP: &str = "/apis/authorization.k8s.io/v1";

async fn ask(bench: &Bench, path: &str, kind: &str, review: Value) -> (u16, Value) {
    let mut body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind});
    body.as_object_mut().unwrap().extend(review.as_object().unwrap().clone());
    let answer = bench.ask(&admin(), &format!("POST {GROUP}{path}"), body).await;
    (answer.code, answer.json())
}

#[tokio::test]
async fn a_review_of_a_namespace_stays_in_it() {
    let bench = Bench::start().await;
    let path = "/namespaces/default/localsubjectaccessreviews";
    let kind = "LocalSubjectAccessReview";
    let of = |namespace: &str| {
        json!({"user": "u", "resourceAttributes": {"namespace": namespace,
        "verb": "get", "resource": "pods", "group": ""}})
    };
    let (code, said) = ask(&bench, path, kind, json!({"spec": of("default")})).await;
    assert_eq!(code, 201, "{said}");
    assert_eq!(said["metadata"]["namespace"], "default");
    assert_eq!(said["spec"]["resourceAttributes"].get("group"), None, "what is empty is left out");
    let other = json!({"metadata": {"namespace": "other"}, "spec": of("default")});
    assert_eq!(ask(&bench, path, kind, other).await.0, 400);
    let (code, said) = ask(&bench, path, kind, json!({"spec": of("")})).await;
    assert_eq!(code, 422, "{said}");
    assert_eq!(
        said["message"],
        ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: Invalid value: \"\": must match metadata.namespace"
    );
    let (code, said) = ask(&bench, path, kind, json!({"spec": {}})).await;
    assert_eq!((code, said["details"]["causes"].as_array().unwrap().len()), (422, 2), "{said}");
}

#[tokio::test]
async fn rules_are_those_of_roles() {
    let bench = Bench::start().await;
    let asked = json!({"spec": {"namespace": "default"}});
    let (code, said) =
        ask(&bench, "/selfsubjectrulesreviews", "SelfSubjectRulesReview", asked).await;
    assert_eq!((code, &said["spec"]), (201, &json!({})), "{said}");
    let everything = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    let rules = said["status"]["resourceRules"].as_array().unwrap();
    assert_eq!(rules.iter().filter(|rule| **rule == everything).count(), 1, "{said}");
}

#[tokio::test]
async fn the_state_of_components_comes_in_every_form() {
    let bench = Bench::start().await;
    let path = "GET /api/v1/componentstatuses";
    let list = bench.ask(&admin(), path, Value::Null).await.json();
    assert_eq!((&list["kind"], &list["metadata"]), (&json!("ComponentStatusList"), &json!({})));
    let table = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let list = bench.ask_with(&admin(), path, &table, Value::Null).await.json();
    let rows: Vec<&Value> =
        list["rows"].as_array().unwrap().iter().map(|row| &row["cells"]).collect();
    assert_eq!(rows[1], &json!(["scheduler", "Healthy", "ok", ""]), "{list}");
    let one = bench.ask_with(&admin(), &format!("{path}/etcd-0"), &table, Value::Null).await;
    assert_eq!(one.json()["rows"][0]["cells"][0], "etcd-0", "{}", one.text());
    let none = bench.ask(&admin(), &format!("{path}/other"), Value::Null).await;
    assert_eq!(none.code, 404);
}
