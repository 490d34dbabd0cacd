//! Priority and fairness: classification, seats, conditions, metrics.

use serde_json::{Value, json};

use crate::bench::{Bench, admin, config, read, who};

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const SCHEMA: &str = "x-kubernetes-pf-flowschema-uid";
const LEVEL: &str = "x-kubernetes-pf-prioritylevel-uid";

fn level(name: &str, shares: u32, response: Value) -> Value {
    json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": 0, "borrowingLimitPercent": 0,
            "limitResponse": response}}})
}

fn schema(name: &str, level: &str, precedence: u32, user: &str) -> Value {
    json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
        "metadata": {"name": name}, "spec": {
            "matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": level},
            "distinguisherMethod": {"type": "ByUser"}, "rules": [{
                "subjects": [{"kind": "User", "user": {"name": user}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                    "namespaces": ["*"], "clusterScope": true}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}})
}

/// The names of the schema and the level that took a request.
async fn taken(
    bench: &Bench,
    connection: &apiserver::handle::Connection,
    line: &str,
) -> (String, String) {
    let reply = bench.ask(connection, line, Value::Null).await;
    let mut names = Vec::new();
    for (plural, header) in [("flowschemas", SCHEMA), ("prioritylevelconfigurations", LEVEL)] {
        let all = bench.ask(&admin(), &format!("GET {GROUP}/{plural}"), Value::Null).await.json();
        let uid = reply.header(header);
        let items = all["items"].as_array().unwrap();
        let found = items.iter().find(|item| item["metadata"]["uid"] == uid);
        names.push(found.map_or_else(String::new, |item| {
            item["metadata"]["name"].as_str().unwrap().to_owned()
        }));
    }
    let [schema, level] = names.try_into().unwrap();
    (schema, level)
}

async fn ready(bench: &Bench) {
    for (plural, count) in [("flowschemas", 13), ("prioritylevelconfigurations", 8)] {
        bench
            .until(&admin(), &format!("GET {GROUP}/{plural}"), |reply| {
                reply.json()["items"].as_array().is_some_and(|items| items.len() == count)
            })
            .await;
    }
    // The last of them has been read.
    bench.until(&who("x", &[]), "GET /version", |reply| !reply.header(SCHEMA).is_empty()).await;
    bench.until(&admin(), "GET /version", |reply| !reply.header(LEVEL).is_empty()).await;
}

#[tokio::test]
async fn requests_are_classified_as_upstream_does() {
    let bench = Bench::start().await;
    ready(&bench).await;
    let account = who("system:serviceaccount:kube-system:x", &["system:serviceaccounts"]);
    let cases = [
        (admin(), "GET /api/v1/pods", "exempt", "exempt"),
        (who("ann", &[]), "GET /livez", "probes", "exempt"),
        (who("ann", &[]), "GET /api/v1/pods", "global-default", "global-default"),
        (who("n", &["system:nodes"]), "GET /api/v1/nodes/n", "system-node-high", "node-high"),
        (who("n", &["system:nodes"]), "GET /api/v1/pods", "system-nodes", "system"),
        (account, "GET /api/v1/pods", "kube-system-service-accounts", "workload-high"),
        (
            who("system:kube-scheduler", &[]),
            "GET /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x",
            "system-leader-election",
            "leader-election",
        ),
    ];
    for (connection, line, schema, level) in cases {
        let expected = (schema.to_owned(), level.to_owned());
        bench.until(&connection, line, |reply| !reply.header(SCHEMA).is_empty()).await;
        assert_eq!(taken(&bench, &connection, line).await, expected, "{line}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_level_that_is_full_answers_429_and_exempt_ones_go_on() {
    let mut config = config();
    config.seats = 1;
    let bench = Bench::with(config).await;
    ready(&bench).await;
    let reject = level("narrow", 1, json!({"type": "Reject"}));
    let made =
        bench.ask(&admin(), &format!("POST {GROUP}/prioritylevelconfigurations"), reject).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let made = bench
        .ask(&admin(), &format!("POST {GROUP}/flowschemas"), schema("narrow", "narrow", 50, "ann"))
        .await;
    let uid = made.json()["metadata"]["uid"].as_str().unwrap().to_owned();
    let ann = who("ann", &["system:nodes"]);
    bench.until(&ann, "GET /version", |reply| reply.header(SCHEMA) == uid).await;

    // A list keeps its seat until its body has been read.
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "ann"}, "subjects": [{"kind": "User", "name": "ann"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
    let made = bench
        .ask(&admin(), "POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
        .await;
    assert_eq!(made.code, 201);
    let list = "GET /apis/rbac.authorization.k8s.io/v1/clusterroles";
    let open = bench.send(&ann, list, &[], &Value::Null).await;
    assert_eq!(open.status(), 200);
    let refused = bench.ask(&ann, list, Value::Null).await;
    assert_eq!(refused.code, 429);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header(SCHEMA), uid);
    assert_eq!(refused.text(), "Too many requests, please try again later.\n");
    assert_eq!(bench.ask(&admin(), list, Value::Null).await.code, 200);

    read(open).await;
    assert_eq!(bench.ask(&ann, list, Value::Null).await.code, 200);
    // A watch takes a seat only to begin.
    let watch = format!("{list}?watch=true");
    let first = bench.send(&ann, &watch, &[], &Value::Null).await;
    let second = bench.send(&ann, &watch, &[], &Value::Null).await;
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));

    let metrics = bench.ask(&admin(), "GET /metrics", Value::Null).await;
    let labels = "flow_schema=\"narrow\",priority_level=\"narrow\"";
    for line in [
        format!("apiserver_flowcontrol_rejected_requests_total{{{labels},reason=\"concurrency-limit\"}} 1\n"),
        format!("apiserver_flowcontrol_current_executing_requests{{{labels}}} 0\n"),
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"exempt\"} 0\n".to_owned(),
        "apiserver_request_total{code=\"429\",component=\"apiserver\",dry_run=\"\",group=\"rbac.authorization.k8s.io\",resource=\"clusterroles\",scope=\"cluster\",subresource=\"\",verb=\"LIST\",version=\"v1\"} 1\n".to_owned(),
    ] {
        assert!(metrics.text().contains(&line), "{line}{}", metrics.text());
    }
    bench.finish().await;
}

#[tokio::test]
async fn who_waits_in_a_queue_runs_when_a_seat_is_free() {
    let mut config = config();
    config.seats = 1;
    let bench = std::sync::Arc::new(Bench::with(config).await);
    ready(&bench).await;
    let list = "GET /apis/rbac.authorization.k8s.io/v1/clusterroles";
    let ann = who("system:apiserver", &["system:serviceaccounts"]);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "a"}, "subjects": [{"kind": "User", "name": "system:apiserver"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
    bench
        .ask(&admin(), "POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
        .await;
    bench.until(&ann, list, |reply| reply.code == 200).await;
    // One seat of its own, one borrowed.
    let open = bench.send(&ann, list, &[], &Value::Null).await;
    let borrowed = bench.send(&ann, list, &[], &Value::Null).await;
    let waiting = {
        let (bench, ann) = (std::sync::Arc::clone(&bench), ann.clone());
        tokio::spawn(async move { bench.ask(&ann, list, Value::Null).await.code })
    };
    let queued = "apiserver_flowcontrol_current_inqueue_requests{flow_schema=\"service-accounts\",priority_level=\"workload-low\"} 1\n";
    bench.until(&admin(), "GET /metrics", |reply| reply.text().contains(queued)).await;
    assert!(!waiting.is_finished());
    drop(open);
    assert_eq!(waiting.await.unwrap(), 200);
    drop(borrowed);
}

#[tokio::test]
async fn conditions_and_mandatory_objects_are_kept() {
    let bench = Bench::start().await;
    ready(&bench).await;
    bench
        .ask(&admin(), &format!("POST {GROUP}/flowschemas"), schema("lost", "later", 700, "bob"))
        .await;
    let says = |reason: &'static str| {
        move |reply: &crate::bench::Reply| {
            reply.json()["status"]["conditions"][0]["reason"] == reason
        }
    };
    let get = format!("GET {GROUP}/flowschemas/lost");
    let lost = bench.until(&admin(), &get, says("NotFound")).await.json();
    assert_eq!(lost["status"]["conditions"][0]["type"], "Dangling");
    assert_eq!(lost["status"]["conditions"][0]["status"], "True");
    let bob = who("bob", &[]);
    assert_eq!(taken(&bench, &bob, "GET /version").await.0, "global-default");
    let made = level("later", 10, json!({"type": "Queue", "queuing": {}}));
    bench.ask(&admin(), &format!("POST {GROUP}/prioritylevelconfigurations"), made).await;
    bench.until(&admin(), &get, says("Found")).await;
    let uid = lost["metadata"]["uid"].as_str().unwrap();
    bench.until(&bob, "GET /version", |reply| reply.header(SCHEMA) == uid).await;

    // What cannot be done without comes back, and as it was.
    for (plural, name) in [("flowschemas", "catch-all"), ("prioritylevelconfigurations", "exempt")]
    {
        let line = format!("{GROUP}/{plural}/{name}");
        let before = bench.ask(&admin(), &format!("GET {line}"), Value::Null).await.json();
        bench.ask(&admin(), &format!("DELETE {line}"), Value::Null).await;
        let after = bench
            .until(&admin(), &format!("GET {line}"), |reply| {
                reply.code == 200 && reply.json()["metadata"]["uid"] != before["metadata"]["uid"]
            })
            .await;
        assert_eq!(after.json()["spec"], before["spec"], "{name}");
    }
    bench.finish().await;
}
