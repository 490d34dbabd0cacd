//! Pods that are not let in.

use std::time::Duration;

use serde_json::{Value, json};

use crate::testing::{Bench, is_ready, phase};

/// Creates a pod `p` as the scheduler leaves it, with somebody else's condition.
fn bound(bench: &Bench, extra: Value) {
    let mut spec = json!({"nodeName": "node", "containers": [{"name": "a", "image": "image:1"}]});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let conditions = json!([{"type": "PodScheduled", "status": "True"},
        {"type": "example.com/own", "status": "True"}]);
    bench.api.put(
        "pods",
        json!({"metadata": {"name": "p", "namespace": "ns", "uid": "uid-p"}, "spec": spec,
            "status": {"phase": "Pending", "qosClass": "BestEffort", "conditions": conditions}}),
    );
}

fn sysctl(name: &str) -> Value {
    json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}})
}

/// What is left of the status of a refused pod beside the words of the refusal.
fn status(bench: &Bench) -> Value {
    bench.api.get("pods", "ns", "p").unwrap()["status"].clone()
}

fn expected(reason: &str, message: &str) -> Value {
    json!({"phase": "Failed", "reason": reason, "message": message, "qosClass": "BestEffort",
        "startTime": "2026-01-01T00:00:00Z",
        "conditions": [{"type": "example.com/own", "status": "True"}]})
}

#[tokio::test(start_paused = true)]
async fn unsafe_sysctls_are_refused_with_upstreams_words() {
    let bench = Bench::start().await;
    bound(&bench, sysctl("kernel/msgmax"));
    bench.until("refused", |pod| phase(pod) == "Failed").await;
    let text = "forbidden sysctl: \"kernel.msgmax\" not allowlisted";
    let told = format!("SysctlForbidden: {text}");
    bench.until("told", |_| bench.events().contains(&told)).await;
    assert_eq!(status(&bench), expected("SysctlForbidden", &format!("Pod was rejected: {text}")));
    assert!(bench.runtime.log().is_empty(), "{:?}", bench.runtime.log());
    let mut spec = json!({"containers": [{"name": "a", "image": "image:1"}]});
    spec["securityContext"] = sysctl("net/ipv4/tcp_syncookies")["securityContext"].clone();
    bench.named_pod("q", spec);
    bench.until_of("q", "ready", is_ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_pod_has_no_containers_to_tell_of() {
    let bench = Bench::start().await;
    bound(&bench, json!({"nodeSelector": {"no": "such"}}));
    bench.until("refused", |pod| phase(pod) == "Failed").await;
    bench.clock.sleep(Duration::from_secs(60)).await;
    let message = "Pod was rejected: Predicate NodeAffinity failed";
    assert_eq!(status(&bench), expected("NodeAffinity", message));
    // The next kubelet knows no more of it.
    let bench = bench.restart().await;
    bench.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(status(&bench), expected("NodeAffinity", message));
    bench.api.delete_pod("p", 30);
    bench.until_gone("p").await;
}
