//! What goes with a read: options, pages, encodings, warnings.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::bench::{Bench, admin};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn fill(bench: &Bench, count: usize, bytes: usize) {
    for index in 0..count {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("c{index}")}, "data": {"a": "x".repeat(bytes)}});
        let made = bench.ask(&admin(), &format!("POST {MAPS}"), map).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
}

#[tokio::test]
async fn large_lists_are_compressed_for_those_who_take_it() {
    let bench = Bench::start().await;
    fill(&bench, 4, 50_000).await;
    let list = format!("GET {MAPS}");
    let gzip = [("accept-encoding", "gzip")];
    let plain = bench.ask(&admin(), &list, Value::Null).await;
    assert_eq!(plain.header("content-encoding"), "");
    assert_eq!(plain.header("cache-control"), "no-cache, private");
    let packed = bench.ask_with(&admin(), &list, &gzip, Value::Null).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.text());
    let items = plain.json()["items"].as_array().unwrap().clone();
    assert!(items.len() == 4 && items.iter().all(|item| item["data"]["a"] == "x".repeat(50_000)));
    let small = bench.ask_with(&admin(), &format!("GET {MAPS}/c0"), &gzip, Value::Null).await;
    assert_eq!((small.code, small.header("content-encoding")), (200, ""));
    bench.finish().await;
}

#[tokio::test]
async fn pages_and_options_are_held_to_their_rules() {
    let bench = Bench::start().await;
    fill(&bench, 3, 1).await;
    let first = bench.ask(&admin(), &format!("GET {MAPS}?limit=2"), Value::Null).await.json();
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest =
        bench.ask(&admin(), &format!("GET {MAPS}?limit=2&continue={token}"), Value::Null).await;
    assert_eq!(rest.json()["items"][0]["metadata"]["name"], "c2");
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let exact = format!("resourceVersion={revision}&resourceVersionMatch=Exact");
    let cases = [
        (exact.clone(), 200, ""),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan".to_owned(), 200, ""),
        ("resourceVersionMatch=Exact".to_owned(), 422, "unless resourceVersion is provided"),
        (format!("{exact}&continue={token}"), 422, "when continue is provided"),
        (format!("resourceVersion={revision}&continue={token}"), 400, "when using continue"),
        ("continue=abc".to_owned(), 400, "continue key is not valid"),
        ("watch=1&sendInitialEvents=true".to_owned(), 422, "requires setting resourceVersionMatch"),
    ];
    for (query, code, text) in cases {
        let reply = bench.ask(&admin(), &format!("GET {MAPS}?{query}"), Value::Null).await;
        assert_eq!(reply.code, code, "{query}: {}", reply.text());
        assert!(reply.text().contains(text), "{query}: {}", reply.text());
    }
    bench.finish().await;
}

#[tokio::test]
async fn deprecated_resources_come_with_a_warning() {
    let bench = Bench::start().await;
    let reply = bench.ask(&admin(), "GET /api/v1/endpoints", Value::Null).await;
    let expected =
        "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
    assert_eq!(reply.header("warning"), expected);
    let metrics = bench.ask(&admin(), "GET /metrics", Value::Null).await;
    let line = "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\",subresource=\"\",version=\"v1\"} 1\n";
    assert!(metrics.text().contains(line));
    bench.finish().await;
}

#[tokio::test]
async fn who_a_token_stands_for_ends_with_its_node() {
    let bench = Bench::start().await;
    for (plural, object) in [
        ("nodes", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})),
        (
            "namespaces/default/serviceaccounts",
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa"}}),
        ),
    ] {
        let made = bench.ask(&admin(), &format!("POST /api/v1/{plural}"), object).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
    let wanted = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Node", "name": "n"}}});
    let line = "POST /api/v1/namespaces/default/serviceaccounts/sa/token";
    let token = bench.ask(&admin(), line, wanted).await.json();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token["status"]["token"]}});
    let reviews = "POST /apis/authentication.k8s.io/v1/tokenreviews";
    let status = bench.ask(&admin(), reviews, review.clone()).await.json()["status"].clone();
    assert_eq!(status["authenticated"], true);
    assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/node-name"], json!(["n"]));
    bench.ask(&admin(), "DELETE /api/v1/nodes/n", Value::Null).await;
    let status = bench.ask(&admin(), reviews, review).await.json()["status"].clone();
    assert_eq!(status["authenticated"], Value::Null);
    bench.finish().await;
}

#[tokio::test]
async fn bootstrap_tokens_are_secrets_of_the_system() {
    let bench = Bench::start().await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": "bootstrap-token-abcdef"}, "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true"}});
    let made = bench.ask(&admin(), "POST /api/v1/namespaces/kube-system/secrets", secret).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let line = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
    let nobody = apiserver::handle::Connection::default();
    for (token, code) in [("abcdef.0123456789abcdef", 201), ("abcdef.ffffffffffffffff", 401)] {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let reply = bench.ask_with(&nobody, line, &headers, review.clone()).await;
        assert_eq!(reply.code, code, "{}", reply.text());
        if code == 201 {
            let user = &reply.json()["status"]["userInfo"];
            assert_eq!(user["username"], "system:bootstrap:abcdef");
            assert_eq!(user["groups"], json!(["system:bootstrappers", "system:authenticated"]));
        }
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_client_may_say_how_long_a_request_may_take() {
    let bench = Bench::start().await;
    for (timeout, code) in [("3m", 200), ("0s", 200), ("1.5s", 200), ("-1s", 200), ("", 200)] {
        let line = format!("GET {MAPS}?timeout={timeout}");
        assert_eq!(bench.ask(&admin(), &line, Value::Null).await.code, code, "{timeout}");
    }
    let refused = bench.ask(&admin(), &format!("GET {MAPS}?timeout=soon"), Value::Null).await;
    assert_eq!(refused.code, 400);
    let why = "invalid timeout specified in the request URL - time: invalid duration \\\"soon\\\"";
    assert!(refused.text().contains(why), "{}", refused.text());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    // It waits for the account that no controller makes here.
    let line = "POST /api/v1/namespaces/default/pods?timeout=10ms";
    let late = bench.ask(&admin(), line, pod).await;
    assert_eq!((late.code, &late.json()["reason"]), (504, &json!("Timeout")), "{}", late.text());
    bench.finish().await;
}

#[tokio::test]
async fn a_list_that_comes_as_a_watch_ends_with_what_an_empty_one_looks_like() {
    let bench = Bench::start().await;
    fill(&bench, 2, 1).await;
    let options = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let watch = format!("GET {MAPS}?{options}&allowWatchBookmarks=true&timeoutSeconds=1");
    let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let partial_list = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    for (accept, kind, version) in [
        ("application/json", "ConfigMapList", "v1"),
        (partial, "PartialObjectMetadataList", "meta.k8s.io/v1"),
        (partial_list, "PartialObjectMetadataList", "meta.k8s.io/v1"),
    ] {
        let accepts = [("accept", accept)];
        let whole = bench.ask_with(&admin(), &format!("GET {MAPS}"), &accepts, Value::Null).await;
        assert_eq!(whole.json()["kind"], kind, "a list that comes as one: {accept}");
        let told = bench.ask_with(&admin(), &watch, &[("accept", accept)], Value::Null).await;
        let events: Vec<Value> =
            told.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
        assert_eq!(kinds[..3], ["ADDED", "ADDED", "BOOKMARK"]);
        let notes = &events[2]["object"]["metadata"]["annotations"];
        assert_eq!(notes["k8s.io/initial-events-end"], "true");
        let blueprint = notes["kubernetes.io/initial-events-list-blueprint"].as_str().unwrap();
        let list: Value = serde_json::from_slice(&STANDARD.decode(blueprint).unwrap()).unwrap();
        let empty = json!({"kind": kind, "apiVersion": version, "metadata": {}, "items": []});
        assert_eq!(list, empty);
    }
    bench.finish().await;
}
