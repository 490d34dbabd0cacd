//! Health checks, as probes and people ask for them.

use super::bench::{Bench, Reply, admin};

async fn get(bench: &Bench, path: &str) -> Reply {
    bench.ask(&admin(), &format!("GET {path}"), serde_json::Value::Null).await
}

#[tokio::test]
async fn every_check_has_a_name_and_an_answer() {
    let bench = Bench::start().await;
    let readyz = get(&bench, "/readyz?verbose&exclude=etcd").await;
    assert_eq!(readyz.code, 200);
    let lines: Vec<&str> = readyz.text().lines().collect();
    assert_eq!(lines.first(), Some(&"[+]ping ok"));
    assert_eq!(lines.last(), Some(&"readyz check passed"));
    assert!(lines.contains(&"[+]etcd excluded: ok") && lines.contains(&"[+]shutdown ok"));
    assert_eq!(get(&bench, "/livez").await.text(), "ok");
    assert_eq!(get(&bench, "/healthz/poststarthook/rbac/bootstrap-roles").await.text(), "ok");
    assert_eq!(get(&bench, "/livez/shutdown").await.code, 404);
    let counted = get(&bench, "/metrics/slis").await;
    let wanted =
        "kubernetes_healthchecks_total{name=\"etcd\",status=\"success\",type=\"livez\"} 1\n";
    assert!(counted.text().contains(wanted), "{}", counted.text());
}
