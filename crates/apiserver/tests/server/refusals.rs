//! Requests that are refused: code and message, as upstream answers them.

use serde_json::{Value, json};

use crate::bench::{Bench, admin};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const NOT_ALLOWED: &str = "the server does not allow this method on the requested resource";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

async fn check(bench: &Bench, request: &str, body: Value, code: u16, message: &str) {
    let answer = bench.ask(&admin(), request, body).await;
    let said = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!((answer.code, said.as_str()), (code, message), "{request}");
}

#[tokio::test]
async fn options_that_are_not_understood_do_nothing() {
    let bench = Bench::start().await;
    let made = bench.ask(&admin(), &format!("POST {MAPS}"), map("a")).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let number = "strconv.ParseInt: parsing \"x\": invalid syntax";
    let options = "DeleteOptions.meta.k8s.io \"\" is invalid:";
    let unknown = "dryRun: Unsupported value: \"x\": supported values: \"All\"";
    let both = "propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set";
    for (request, body, code, message) in [
        ("DELETE /a?dryRun=x", Value::Null, 422, format!("{options} {unknown}")),
        ("DELETE /a", json!({"dryRun": ["x"]}), 422, format!("{options} {unknown}")),
        ("DELETE /a?gracePeriodSeconds=x", Value::Null, 400, number.to_owned()),
        (
            "DELETE /a",
            json!({"orphanDependents": true, "propagationPolicy": "Orphan"}),
            422,
            format!("{options} {both}"),
        ),
        ("DELETE ?limit=x", Value::Null, 400, number.to_owned()),
        ("GET ?limit=x", Value::Null, 400, number.to_owned()),
        ("GET ?timeoutSeconds=x", Value::Null, 400, number.to_owned()),
        (
            "GET ?fieldSelector=data.a%3Db",
            Value::Null,
            400,
            "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"".to_owned(),
        ),
        ("PUT ", map("a"), 405, NOT_ALLOWED.to_owned()),
        ("POST /a", map("a"), 405, NOT_ALLOWED.to_owned()),
        ("HEAD /a", Value::Null, 405, NOT_ALLOWED.to_owned()),
        (
            "PUT /b",
            map("a"),
            400,
            "the name of the object (a) does not match the name on the URL (b)".to_owned(),
        ),
        (
            "PUT /a",
            json!({"data": {}}),
            400,
            "the name of the object (a based on URL) was undeterminable: name must be provided"
                .to_owned(),
        ),
    ] {
        let (method, rest) = request.split_once(' ').unwrap();
        check(&bench, &format!("{method} {MAPS}{rest}"), body, code, &message).await;
    }
    let there = bench.ask(&admin(), &format!("GET {MAPS}/a"), Value::Null).await;
    assert_eq!(there.code, 200, "{}", there.text());
    let all = bench.ask(&admin(), &format!("GET {MAPS}?limit=-1"), Value::Null).await;
    assert_eq!(all.code, 200, "{}", all.text());
    bench.finish().await;
}

#[tokio::test]
async fn bodies_that_contradict_their_place_are_refused() {
    let bench = Bench::start().await;
    let manager = "x".repeat(129);
    let long = format!("POST {MAPS}?fieldManager={manager}");
    let answer = bench.ask(&admin(), &long, map("a")).await;
    assert_eq!(answer.code, 422, "{}", answer.text());
    assert!(answer.text().contains("CreateOptions.meta.k8s.io"), "{}", answer.text());
    let mut finalized = map("a");
    finalized["metadata"]["finalizers"] = json!(["x"]);
    let why = "ConfigMap \"a\" is invalid: metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified";
    check(&bench, &format!("POST {MAPS}"), finalized, 422, why).await;
    let review = "/apis/authentication.k8s.io/v1/tokenreviews";
    let why = "token is required for TokenReview in authentication";
    check(&bench, &format!("POST {review}"), json!({"spec": {}}), 400, why).await;
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let body = json!({"spec": {"user": "u", "resourceAttributes": {"namespace": "other"}}});
    let answer = bench.ask(&admin(), &format!("POST {local}"), body).await;
    assert_eq!(answer.code, 422, "{}", answer.text());
    bench.finish().await;
}

#[tokio::test]
async fn a_revision_that_is_to_come_is_told_by_its_cause() {
    let bench = Bench::start().await;
    let answer =
        bench.ask(&admin(), &format!("GET {MAPS}?resourceVersion=99999999"), Value::Null).await;
    let status = answer.json();
    assert_eq!((answer.code, &status["reason"]), (504, &json!("Timeout")));
    assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(status["details"]["retryAfterSeconds"], 1);
    bench.finish().await;
}

/// Some kinds, and all custom ones, are not replaced by who does not say what they replace.
#[tokio::test]
async fn some_kinds_are_replaced_at_a_revision_only() {
    let bench = Bench::start().await;
    let path = "/apis/node.k8s.io/v1/runtimeclasses";
    let class = |handler: &str| json!({"metadata": {"name": "c"}, "handler": handler});
    let put = format!("PUT {path}/c");
    let made = bench.ask(&admin(), &format!("POST {path}"), class("h")).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let refused = bench.ask(&admin(), &put, class("h")).await;
    assert_eq!(
        (refused.code, refused.json()["message"].as_str().unwrap()),
        (
            422,
            "runtimeclasses.node.k8s.io \"c\" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
        )
    );
    let mut labelled = made.json();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let changed = bench.ask(&admin(), &put, labelled).await;
    assert_eq!(changed.code, 200, "{}", changed.text());
    let patched = bench
        .ask_with(
            &admin(),
            &format!("PATCH {path}/c"),
            &[("content-type", "application/merge-patch+json")],
            json!({"metadata": {"labels": {"a": "c"}}}),
        )
        .await;
    assert_eq!(patched.code, 200, "{}", patched.text());
}

#[tokio::test]
async fn parameters_of_subresources_are_checked_first() {
    let bench = Bench::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let log = "PodLogOptions \"p\" is invalid:";
    for (request, code, message) in [
        (
            "GET p/log?tailLines=-1",
            422,
            format!("{log} tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ),
        (
            "GET p/log?limitBytes=0",
            422,
            format!("{log} limitBytes: Invalid value: 0: must be greater than 0"),
        ),
        (
            "GET p/log?sinceSeconds=1&sinceTime=2024-01-01T00:00:00Z",
            422,
            format!(
                "{log} []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
            ),
        ),
        (
            "GET p/log?sinceTime=x",
            400,
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""
                .to_owned(),
        ),
        (
            "GET p/log?stream=x",
            422,
            format!(
                "{log} stream: Unsupported value: \"x\": supported values: \"All\", \"Stderr\", \"Stdout\""
            ),
        ),
        (
            "GET p/portforward?ports=80,x",
            400,
            "cannot convert to []int32: strconv.ParseUint: parsing \"x\": invalid syntax"
                .to_owned(),
        ),
        ("GET p/log?tailLines=1", 404, "pods \"p\" not found".to_owned()),
        ("POST p/log", 405, NOT_ALLOWED.to_owned()),
        ("PUT p/exec", 405, NOT_ALLOWED.to_owned()),
        ("POST p/eviction", 400, "name in URL does not match name in Eviction object".to_owned()),
    ] {
        let (method, rest) = request.split_once(' ').unwrap();
        check(&bench, &format!("{method} {pods}/{rest}"), Value::Null, code, &message).await;
    }
    for name in ["n", "n:10250", "https:n:10250"] {
        let request = format!("GET /api/v1/nodes/{name}/proxy/healthz");
        check(&bench, &request, Value::Null, 404, "nodes \"n\" not found").await;
    }
}

#[tokio::test]
async fn a_scale_is_a_number() {
    let bench = Bench::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
            {"name": "c", "image": "i"}]}}}});
    let made = bench.ask(&admin(), &format!("POST {path}"), deployment).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let scale = format!("PATCH {path}/d/scale");
    let merge = [("content-type", "application/merge-patch+json")];
    let wrong = json!({"spec": {"replicas": "x"}});
    let refused = bench.ask_with(&admin(), &scale, &merge, wrong).await;
    assert_eq!(refused.code, 422, "{}", refused.text());
    let right = json!({"spec": {"replicas": 3}});
    let scaled = bench.ask_with(&admin(), &scale, &merge, right).await;
    assert_eq!(scaled.json()["spec"]["replicas"], 3, "{}", scaled.text());
    let missing = bench.ask(&admin(), &format!("GET {path}/e/scale"), Value::Null).await;
    assert_eq!(missing.json()["message"], "deployments/scale.apps \"e\" not found");
}

#[tokio::test]
async fn a_binding_tried_binds_nothing() {
    let bench = Bench::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let account = json!({"metadata": {"name": "default"}});
    bench.ask(&admin(), "POST /api/v1/namespaces/default/serviceaccounts", account).await;
    let made = bench.ask(&admin(), &format!("POST {pods}"), pod).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    for path in ["/api/v1/namespaces/default/bindings", &format!("{pods}/p/binding")] {
        let tried = bench.ask(&admin(), &format!("POST {path}?dryRun=All"), binding.clone()).await;
        assert_eq!(tried.code, 201, "{}", tried.text());
        let pod = bench.ask(&admin(), &format!("GET {pods}/p"), Value::Null).await.json();
        assert_eq!(pod["spec"].get("nodeName"), None, "{path}");
    }
    let bound = bench.ask(&admin(), "POST /api/v1/namespaces/default/bindings", binding).await;
    assert_eq!(bound.code, 201, "{}", bound.text());
    let pod = bench.ask(&admin(), &format!("GET {pods}/p"), Value::Null).await.json();
    assert_eq!(pod["spec"]["nodeName"], "n");
}
