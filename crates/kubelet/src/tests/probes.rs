//! What users are told of probes.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::testing::{Bench, is_ready, restarts};

/// Answers every request with a redirect to another host.
async fn redirect(listener: TcpListener, body: &str) {
    let head = "HTTP/1.1 302 Found\r\nLocation: http://0.0.0.0/\r\nContent-Length: ";
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        let _read = stream.read(&mut buffer).await.unwrap();
        let answer = format!("{head}{}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn warnings(bench: &Bench) -> Vec<Value> {
    let mut events = bench.api.list("events");
    events.retain(|event| event["reason"] == "ProbeWarning");
    events
}

async fn redirected(list: &str, extra: Value) {
    let bench = Bench::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let get = json!({"host": "127.0.0.1", "port": listener.local_addr().unwrap().port()});
    // The clock jumps whenever everybody waits, also for the network: that must not be the end of the probe.
    let probe = json!({"httpGet": get, "timeoutSeconds": 3000, "failureThreshold": 1});
    let mut container = json!({"name": "probed", "image": "image:1", "livenessProbe": probe});
    container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let mut spec = json!({"containers": [{"name": "a", "image": "image:1"}]});
    spec[list] = json!([container]);
    bench.pod(spec);
    let body = "<a href=\"http://0.0.0.0/\">Found</a>.\n\n";
    let counted = bench.until("told twice", |_| {
        warnings(&bench).first().is_some_and(|event| event["count"].as_i64() >= Some(2))
    });
    let pod = tokio::select! {
        pod = counted => pod,
        () = redirect(listener, body) => unreachable!("the server goes on"),
    };
    let events = warnings(&bench);
    assert_eq!(events.len(), 1, "{events:#?}");
    let text = format!("Liveness probe warning: Probe terminated redirects, Response body: {body}");
    assert_eq!(events[0]["message"], text);
    assert_eq!(events[0]["type"], "Warning");
    assert_eq!(events[0]["involvedObject"]["fieldPath"], format!("spec.{list}{{probed}}"));
    assert!(is_ready(&pod) && restarts(&pod) == 0);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_to_another_host_is_a_success_with_a_warning() {
    redirected("containers", json!({})).await;
}

#[tokio::test(start_paused = true)]
async fn a_redirect_to_another_host_is_a_success_of_a_sidecar_too() {
    redirected("initContainers", json!({"restartPolicy": "Always"})).await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_cannot_be_run_is_tried_again_and_told() {
    let bench = Bench::start().await;
    bench.pod(json!({"containers": [{"name": "a", "image": "image:1",
        "livenessProbe": {"httpGet": {"port": "web"}, "failureThreshold": 1},
        "readinessProbe": {"exec": {"command": ["broken", "it"]}}}]}));
    bench.runtime.break_exec("broken it");
    let told = [
        "Unhealthy: Liveness probe errored and resulted in unknown state: \
         strconv.Atoi: parsing \"web\": invalid syntax",
        "Unhealthy: Readiness probe errored and resulted in unknown state: \
         rpc error: code = Unavailable desc = broken",
    ];
    let has = |wanted: &str| bench.events().iter().any(|event| event == wanted);
    let pod = bench.until("told", |_| told.iter().all(|wanted| has(wanted))).await;
    assert_eq!(restarts(&pod), 0);
    let tries = bench.runtime.log().iter().filter(|it| *it == "exec broken it").count();
    assert_eq!(tries, 3);
}
