//! What the kubelet says of its node.

use std::time::Duration;

use serde_json::{Value, json};

use crate::testing::{Bench, is_ready};

fn condition(node: &Value, kind: &str) -> String {
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|it| it["type"] == kind).cloned().unwrap_or_default();
    format!(
        "{} {}",
        found["status"].as_str().unwrap_or_default(),
        found["reason"].as_str().unwrap_or_default()
    )
}

async fn until_node(bench: &Bench, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut changes = bench.api.changes();
    let reached = tokio::time::timeout(Duration::from_secs(3600), async {
        loop {
            if let Some(node) = bench.api.get("nodes", "", "node")
                && wanted(&node)
            {
                return node;
            }
            changes.changed().await.unwrap();
        }
    });
    reached.await.expect("the node gets there")
}

#[tokio::test(start_paused = true)]
async fn the_node_registers_and_holds_its_lease() {
    let bench = Bench::start().await;
    let node = until_node(&bench, |node| condition(node, "Ready") == "True KubeletReady").await;
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "node");
    assert_eq!(node["status"]["capacity"]["pods"], "110");
    assert_eq!(node["status"]["nodeInfo"]["containerRuntimeVersion"], "fake://1");
    let expected = json!([{"type": "InternalIP", "address": "192.168.0.1"},
        {"type": "Hostname", "address": "node"}]);
    assert_eq!(node["status"]["addresses"], expected);
    assert_eq!(condition(&node, "MemoryPressure"), "False KubeletHasSufficientMemory");
    bench.clock.sleep(Duration::from_secs(25)).await;
    let lease = bench.api.get("leases", "kube-node-lease", "node").unwrap();
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 40);
    let renewed: jiff::Timestamp = lease["spec"]["renewTime"].as_str().unwrap().parse().unwrap();
    let age = bench.clock.now().duration_since(renewed).as_secs();
    assert!(age <= 11, "{age}");
}

#[tokio::test(start_paused = true)]
async fn pods_wait_for_the_network_and_go_on_with_it() {
    let bench = Bench::start().await;
    until_node(&bench, |node| condition(node, "Ready") == "True KubeletReady").await;
    bench.runtime.set_network_down(true);
    let node = until_node(&bench, |node| condition(node, "Ready") == "False KubeletNotReady").await;
    let message = node["status"]["conditions"][3]["message"].as_str().unwrap().to_owned();
    assert_eq!(
        message,
        "container runtime network not ready: NetworkReady=false \
        reason:NetworkPluginNotReady message:no CIDR"
    );
    bench.pod(json!({"containers": [{"name": "a", "image": "image:1"}]}));
    bench.named_pod(
        "h",
        json!({"hostNetwork": true, "containers": [{"name": "a", "image": "image:1"}]}),
    );
    bench.until_of("h", "ready", is_ready).await;
    assert!(!is_ready(&bench.api.pod("p").unwrap()));
    let began = tokio::time::Instant::now();
    bench.api.edit("nodes", "", "node", |node| node["spec"]["podCIDR"] = json!("10.42.0.0/24"));
    bench.until("ready", is_ready).await;
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    assert_eq!(bench.runtime.pod_cidr(), "10.42.0.0/24");
}

#[tokio::test(start_paused = true)]
async fn what_only_the_kubelet_knows_is_written_again() {
    let bench = Bench::start().await;
    let node = until_node(&bench, |node| condition(node, "Ready") == "True KubeletReady").await;
    let own = node["status"]["daemonEndpoints"].clone();
    let begin = bench.clock.now();
    bench.api.edit("nodes", "", "node", |node| {
        node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] = json!(0);
        node["status"]["nodeInfo"]["kubeletVersion"] = json!("");
    });
    let mended = until_node(&bench, |node| {
        node["status"]["daemonEndpoints"] == own
            && node["status"]["nodeInfo"]["kubeletVersion"] != ""
    });
    mended.await;
    let took = bench.clock.now().duration_since(begin).as_secs();
    assert!(took <= 11, "by the next look at the machine: {took}");
}
