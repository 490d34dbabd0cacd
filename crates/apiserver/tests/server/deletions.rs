//! What deletions answer and leave.

use serde_json::{Value, json};

use crate::bench::{Bench, Reply, admin};

const CORE: &str = "/api/v1/namespaces/default";

async fn make(bench: &Bench, path: &str, object: Value) {
    let made = bench.ask(&admin(), &format!("POST {path}"), object).await;
    assert_eq!(made.code, 201, "{}", made.text());
}

async fn delete(bench: &Bench, path: &str, options: Value) -> Reply {
    bench.ask(&admin(), &format!("DELETE {path}"), options).await
}

fn pod_spec() -> Value {
    json!({"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"})
}

#[tokio::test]
async fn some_kinds_answer_what_is_gone() {
    let bench = Bench::start().await;
    let named = json!({"metadata": {"name": "default"}});
    make(&bench, &format!("{CORE}/configmaps"), named.clone()).await;
    make(&bench, &format!("{CORE}/serviceaccounts"), named).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": pod_spec()});
    make(&bench, &format!("{CORE}/pods"), pod).await;
    let gone = delete(&bench, &format!("{CORE}/pods/p"), Value::Null).await.json();
    assert_eq!((&gone["kind"], &gone["metadata"]["name"]), (&json!("Pod"), &json!("p")));
    assert_eq!(gone["metadata"]["deletionGracePeriodSeconds"], 0, "{gone}");
    assert!(gone["metadata"]["deletionTimestamp"].is_string());
    let gone = delete(&bench, &format!("{CORE}/serviceaccounts/default"), Value::Null).await.json();
    assert_eq!(gone["kind"], "ServiceAccount");
    assert_eq!(gone["metadata"].get("deletionTimestamp"), None);
    let other = json!({"preconditions": {"uid": "other"}});
    let refused = delete(&bench, &format!("{CORE}/configmaps/default"), other).await.json();
    let text = refused["message"].as_str().unwrap();
    let start = "Operation cannot be fulfilled on ConfigMap \"default\": the UID in the precondition (other) does not match the UID in record (";
    assert!(text.starts_with(start), "{text}");
    let gone = delete(&bench, &format!("{CORE}/configmaps/default"), Value::Null).await.json();
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
}

#[tokio::test]
async fn the_pods_of_a_job_stay_unless_it_is_said_otherwise() {
    let bench = Bench::start().await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    for name in ["a", "b"] {
        let job = json!({"metadata": {"name": name}, "spec": {"template": {"spec": pod_spec()}}});
        make(&bench, jobs, job).await;
    }
    let marked = delete(&bench, &format!("{jobs}/a"), Value::Null).await;
    assert_eq!(marked.json()["metadata"]["finalizers"], json!(["orphan"]), "{}", marked.text());
    assert!(marked.header("warning").contains("child pods are preserved by default"));
    let background = json!({"propagationPolicy": "Background"});
    let gone = delete(&bench, &format!("{jobs}/b"), background).await;
    assert_eq!((gone.json()["kind"].as_str(), gone.header("warning")), (Some("Status"), ""));
}

#[tokio::test]
async fn what_was_only_tried_has_no_revision() {
    let bench = Bench::start().await;
    let path = format!("POST {CORE}/configmaps?dryRun=All");
    let tried = bench.ask(&admin(), &path, json!({"metadata": {"name": "c"}})).await.json();
    assert_eq!(tried["metadata"]["name"], "c", "{tried}");
    assert_eq!(tried["metadata"].get("resourceVersion"), None);
}
