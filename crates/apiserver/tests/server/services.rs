//! What Services are given: addresses and ports, each once.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::bench::{Bench, admin};

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn balancer(name: &str, node_port: u16, check_port: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": check_port, "ports": [{"port": 80, "nodePort": node_port}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_are_in_nobodys_way() {
    let bench = Bench::start().await;
    let (user, dry) = (admin(), format!("POST {SERVICES}?dryRun=All"));
    let tries = (0..64).map(|_| bench.ask(&user, &dry, balancer("a", 30_100, 30_200)));
    for answer in join_all(tries).await {
        assert_eq!(answer.code, 201, "{}", answer.text());
    }
    let made = bench.ask(&user, &format!("POST {SERVICES}"), balancer("a", 30_100, 30_200)).await;
    assert_eq!(made.code, 201, "{}", made.text());
}

#[tokio::test]
async fn ports_are_given_once() {
    let bench = Bench::start().await;
    let create = format!("POST {SERVICES}");
    let made = bench.ask(&admin(), &create, balancer("a", 30_100, 30_200)).await;
    assert_eq!(made.code, 201, "{}", made.text());
    for (other, field) in [
        (balancer("b", 30_100, 30_201), "spec.ports[0].nodePort"),
        (balancer("b", 30_101, 30_200), "spec.healthCheckNodePort"),
        (balancer("b", 30_200, 30_201), "spec.ports[0].nodePort"),
    ] {
        let refused = bench.ask(&admin(), &create, other).await;
        assert_eq!(refused.code, 422, "{}", refused.text());
        let cause = &refused.json()["details"]["causes"][0];
        assert_eq!(cause["field"], field);
        assert!(cause["message"].as_str().unwrap().ends_with("provided port is already allocated"));
    }
    let gone = bench.ask(&admin(), &format!("DELETE {SERVICES}/a"), Value::Null).await;
    assert_eq!(gone.code, 200, "{}", gone.text());
    let again = bench.ask(&admin(), &create, balancer("b", 30_100, 30_200)).await;
    assert_eq!(again.code, 201, "{}", again.text());
}
