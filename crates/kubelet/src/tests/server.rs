//! The kubelet's own server: logs and streams.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::testing::{Bench, is_ready, restarts};

async fn send(
    bench: &Bench,
    request: Request<Empty<Bytes>>,
) -> http::Response<hyper::body::Incoming> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let kubelet = bench.kubelet.clone();
    bench.scope.spawn_until_cancelled("server", async move { kubelet.serve_connection(far).await });
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    bench.scope.spawn_until_cancelled("client", async move {
        let _closed = connection.with_upgrades().await;
    });
    sender.send_request(request).await.unwrap()
}

pub(super) async fn get(bench: &Bench, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).header("host", "x").body(Empty::new()).unwrap();
    let response = send(bench, request).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// The answer to a client that offers these protocols; an empty text offers none.
async fn handshake(
    bench: &Bench,
    path: &str,
    protocols: &str,
) -> http::Response<hyper::body::Incoming> {
    let mut request = Request::get(path)
        .header("host", "x")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    if !protocols.is_empty() {
        request = request.header("sec-websocket-protocol", protocols);
    }
    send(bench, request.body(Empty::new()).unwrap()).await
}

async fn socket(bench: &Bench, path: &str, protocol: &str) -> Socket {
    let response = handshake(bench, path, protocol).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS, "{protocol}");
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
}

/// Everything received by channel, until the other side closes.
async fn drain(socket: &mut Socket) -> BTreeMap<u8, Vec<u8>> {
    let mut channels: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    while let Some(Ok(Message::Binary(message))) = socket.next().await {
        channels.entry(message[0]).or_default().extend_from_slice(&message[1..]);
    }
    channels
}

/// As [`drain`], where messages are text: a digit for the channel and the rest in base64.
async fn drain_text(socket: &mut Socket) -> BTreeMap<u8, Vec<u8>> {
    let mut channels: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    while let Some(Ok(Message::Text(message))) = socket.next().await {
        let channel = message.as_bytes()[0] - b'0';
        let content = STANDARD.decode(&message[1..]).unwrap();
        channels.entry(channel).or_default().extend(content);
    }
    channels
}

fn pod() -> Value {
    json!({"containers": [{"name": "a", "image": "image:1"}]})
}

#[tokio::test(start_paused = true)]
async fn lists_figures_and_refusals() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    assert_eq!(get(&bench, "/healthz").await, (StatusCode::OK, "ok".into()));
    let (_, pods) = get(&bench, "/pods").await;
    let pods: Value = serde_json::from_str(&pods).unwrap();
    assert_eq!(pods["items"][0]["status"]["phase"], "Running");
    let (_, summary) = get(&bench, "/stats/summary").await;
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["pods"][0]["podRef"]["name"], "p");
    assert_eq!(summary["node"]["nodeName"], "node");
    let (_, metrics) = get(&bench, "/metrics/resource").await;
    assert!(metrics.contains("pod_cpu_usage_seconds_total{namespace=\"ns\",pod=\"p\"} 5\n"));
    assert!(get(&bench, "/metrics").await.1.contains("kubelet_running_pods 1\n"));
    assert_eq!(get(&bench, "/nope").await.0, StatusCode::NOT_FOUND);
    let (status, text) = get(&bench, "/containerLogs/ns/gone/a").await;
    assert_eq!((status, text.as_str()), (StatusCode::NOT_FOUND, "pod \"gone\" not found"));
    let (status, text) = get(&bench, "/containerLogs/ns/p/b").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(text, "container \"b\" not found in pod \"p\"");
    let (status, text) = get(&bench, "/containerLogs/ns/p/a?previous=true").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(text, "previous terminated container \"a\" in pod \"p\" not found");
    assert_eq!(get(&bench, "/exec/ns/p/a?command=x&output=1").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_folder_of_logs_is_served_and_nothing_else() {
    let bench = Bench::start().await;
    let root = &bench.kubelet.shared.config.log_root;
    std::fs::create_dir_all(root.join("node/p")).unwrap();
    std::fs::create_dir_all(root.join("links")).unwrap();
    std::fs::write(root.join("node/p/0.log"), "line\n").unwrap();
    std::os::unix::fs::symlink(root.join("node/p/0.log"), root.join("links/c.log")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("links/out")).unwrap();

    let (status, page) = get(&bench, "/logs/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("<a href=\"node/\">node/</a>\n"), "{page}");
    for path in ["/logs/node/p/0.log", "/logs/links/c.log"] {
        assert_eq!(get(&bench, path).await, (StatusCode::OK, "line\n".into()), "{path}");
    }
    for (path, status) in [
        ("/logs/node", StatusCode::MOVED_PERMANENTLY),
        ("/logs/node/p/0.log/", StatusCode::MOVED_PERMANENTLY),
        ("/logs/node/none", StatusCode::NOT_FOUND),
        ("/logs/links/out", StatusCode::FORBIDDEN),
        ("/logs/%2e%2e/", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(get(&bench, path).await.0, status, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn logs_are_read_and_followed_to_the_end() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    let path = bench.runtime.container("a").unwrap().0.log_path;
    let line = |text: &str| format!("2026-01-01T00:00:01.000000000Z stdout F {text}\n");
    std::fs::write(&path, line("one") + &line("two")).unwrap();
    let (status, text) = get(&bench, "/containerLogs/ns/p/a?tailLines=1").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "two\n"));

    let request = Request::get("/containerLogs/ns/p/a?follow=true").header("host", "x");
    let response = send(&bench, request.body(Empty::new()).unwrap()).await;
    let mut body = response.into_body();
    let mut read = async |wanted: &str| {
        let mut all = Vec::new();
        while !all.ends_with(wanted.as_bytes()) {
            all.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
    };
    read("one\ntwo\n").await;
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(line("three").as_bytes()).unwrap();
    read("three\n").await;
    // Rotated: the rest of the old file, then the new one.
    std::fs::rename(&path, format!("{path}.20260101-000000")).unwrap();
    file.write_all(line("four").as_bytes()).unwrap();
    std::fs::write(&path, line("five")).unwrap();
    read("five\n").await;
    bench.runtime.end("a", 0);
    assert!(body.frame().await.is_none(), "the end of the container ends the log");

    bench.until("restarted", |pod| restarts(pod) == 1).await;
    let (_, text) = get(&bench, "/containerLogs/ns/p/a?previous=true").await;
    assert_eq!(text, "five\n");
}

#[tokio::test(start_paused = true)]
async fn a_command_runs_over_web_socket() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    let path = "/exec/ns/p/a?command=cat&command=-&input=1&output=1&error=1";
    let mut socket = socket(&bench, path, "v5.channel.k8s.io").await;
    socket.send(Message::Binary(Bytes::from_static(b"\0hello"))).await.unwrap();
    socket.send(Message::Binary(Bytes::from_static(b"\xff\0"))).await.unwrap();
    let channels = drain(&mut socket).await;
    assert_eq!(channels[&1], b"cat -:hello");
    let status: Value = serde_json::from_slice(&channels[&3]).unwrap();
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"][0]["message"], "3");
}

#[tokio::test(start_paused = true)]
async fn ports_are_forwarded_over_web_socket() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    let mut socket = socket(&bench, "/portForward/ns/p?port=80&port=81", "v4.channel.k8s.io").await;
    let channels = drain(&mut socket).await;
    assert_eq!(channels[&0], b"\x50\x00port 80");
    assert_eq!(channels[&1], b"\x50\x00");
    assert_eq!(channels[&2], b"\x51\x00port 81");
}

#[tokio::test(start_paused = true)]
async fn web_socket_protocols_are_agreed_on_as_upstream_does_it() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    let exec = "/exec/ns/p/a?command=x&output=1";
    let forward = "/portForward/ns/p?port=80";
    let tunnel = "SPDY/3.1+portforward.k8s.io";
    // What the client offers, and what it gets.
    let cases = [
        (exec, "", Some("")),
        (exec, "channel.k8s.io", Some("channel.k8s.io")),
        (exec, "base64.channel.k8s.io", Some("base64.channel.k8s.io")),
        (exec, "v4.base64.channel.k8s.io", Some("v4.base64.channel.k8s.io")),
        (exec, "none, base64.channel.k8s.io,v4.channel.k8s.io", Some("base64.channel.k8s.io")),
        (exec, "v4.channel.k8s.io,v5.channel.k8s.io", Some("v5.channel.k8s.io")),
        (exec, "v3.channel.k8s.io", None),
        (exec, tunnel, None),
        (forward, "", Some("")),
        (forward, "v4.base64.channel.k8s.io", Some("v4.base64.channel.k8s.io")),
        (forward, &format!("v4.channel.k8s.io,{tunnel}"), Some(tunnel)),
        (forward, "channel.k8s.io", None),
        (forward, "v5.channel.k8s.io", None),
    ];
    for (path, offered, expected) in cases {
        let response = handshake(&bench, path, offered).await;
        let chosen = response.headers().get("sec-websocket-protocol");
        let chosen = chosen.map(|it| it.to_str().unwrap()).unwrap_or_default();
        let got = match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => Some(chosen),
            status => {
                assert_eq!(status, StatusCode::FORBIDDEN, "{path} {offered}");
                None
            }
        };
        assert_eq!(got, expected, "{path} {offered}");
    }
    // A refused client has started nothing.
    let refused = handshake(&bench, "/exec/ns/p/a?command=deaf&output=1", "none").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(!bench.runtime.executed().iter().any(|command| command == "deaf"));
}

#[tokio::test(start_paused = true)]
async fn a_command_runs_over_web_socket_in_base64() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    for protocol in ["base64.channel.k8s.io", "v4.base64.channel.k8s.io"] {
        let mut output = socket(&bench, "/exec/ns/p/a?command=id&output=1", protocol).await;
        let channels = drain_text(&mut output).await;
        assert_eq!(channels[&1], b"id:", "{protocol}");
        let told = String::from_utf8_lossy(&channels[&3]).into_owned();
        assert_eq!(told.starts_with('{'), protocol.starts_with("v4"), "{protocol}: {told}");

        let mut input = socket(&bench, "/exec/ns/p/a?command=cat&input=1", protocol).await;
        for text in ["0aGVs", "7aGVs", "0bG8=", "0not base64"] {
            input.send(Message::text(text)).await.unwrap();
        }
        input.close(None).await.unwrap();
        assert_eq!(bench.runtime.typed().await, b"hello", "{protocol}");
    }
}

#[tokio::test(start_paused = true)]
async fn ports_are_forwarded_over_web_socket_without_a_protocol_and_in_base64() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    let path = "/portForward/ns/p?port=80&port=81";
    let channels = drain(&mut socket(&bench, path, "").await).await;
    let text = drain_text(&mut socket(&bench, path, "v4.base64.channel.k8s.io").await).await;
    assert_eq!(channels, text);
    assert_eq!(channels[&0], b"\x50\x00port 80");
    assert_eq!(channels[&3], b"\x51\x00");
}

/// What a process gets of ten messages of a client that leaves right after them.
async fn typed_before_leaving(bench: &Bench, command: &str, protocol: &str) -> usize {
    let path = format!("/exec/ns/p/a?command={command}&input=1&output=1");
    let mut socket = socket(bench, &path, protocol).await;
    for _ in 0..10 {
        let message = [&[0], [b'x'; 1000].as_slice()].concat();
        socket.send(Message::Binary(message.into())).await.unwrap();
    }
    socket.close(None).await.unwrap();
    // The answer to the close does not wait for the process.
    let started = tokio::time::Instant::now();
    let answer = loop {
        match socket.next().await {
            Some(Ok(Message::Binary(_))) => {}
            other => break other,
        }
    };
    assert!(matches!(answer, Some(Ok(Message::Close(_)))), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    drop(socket);
    bench.runtime.typed().await.len()
}

#[tokio::test(start_paused = true)]
async fn all_that_a_client_types_before_it_leaves_arrives() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io", ""] {
        for command in ["cat", "slow", "tee"] {
            let typed = typed_before_leaving(&bench, command, protocol).await;
            assert_eq!(typed, 10_000, "{command} {protocol}");
        }
    }
}

/// More than the buffers hold of the answer, which the client does not take either.
#[tokio::test(start_paused = true)]
async fn all_that_a_client_types_before_it_breaks_off_arrives() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    let path = "/exec/ns/p/a?command=tee&input=1&output=1";
    let mut socket = socket(&bench, path, "v4.channel.k8s.io").await;
    for _ in 0..200 {
        let message = [&[0], [b'x'; 1000].as_slice()].concat();
        socket.send(Message::Binary(message.into())).await.unwrap();
    }
    drop(socket);
    assert_eq!(bench.runtime.typed().await.len(), 200_000);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_read_is_left_in_time() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    let left = typed_before_leaving(&bench, "deaf", "v4.channel.k8s.io");
    let left = tokio::time::timeout(Duration::from_secs(60), left).await;
    assert_eq!(left, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_start_is_told_after_the_handshake() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    bench.runtime.break_exec("none");
    let exec = "/exec/ns/p/a?command=none&input=1&output=1";
    let attach = "/attach/ns/p/a?output=1";
    let executing = "Internal error occurred: error executing command in container: \
                     failed to exec in container: no none";
    let attaching = "Internal error occurred: error attaching to container: attach";
    for (path, message) in [(exec, executing), (attach, attaching)] {
        let told = drain(&mut socket(&bench, path, "v4.channel.k8s.io").await).await;
        let status: Value = serde_json::from_slice(&told[&3]).unwrap();
        let cause = message.strip_prefix("Internal error occurred: ").unwrap();
        let expected = json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": message, "details": {"causes": [{"message": cause}]},
        });
        assert_eq!(status, expected, "{path}");

        // Upstream's server of version 5 wraps what the kubelet tells it.
        let told = drain(&mut socket(&bench, path, "v5.channel.k8s.io").await).await;
        let status: Value = serde_json::from_slice(&told[&3]).unwrap();
        assert_eq!(status["message"], format!("Internal error occurred: {message}"), "{path}");
        assert_eq!(status["details"]["causes"][0]["message"], message, "{path}");
        assert_eq!((&status["reason"], &status["code"]), (&json!("InternalError"), &json!(500)));

        for protocol in ["channel.k8s.io", ""] {
            let told = drain(&mut socket(&bench, path, protocol).await).await;
            assert_eq!(String::from_utf8_lossy(&told[&3]), message, "{path} {protocol}");
        }
    }
    // Who or what is not there is refused before.
    for (path, status) in [
        ("/exec/ns/gone/a?command=x&output=1", StatusCode::NOT_FOUND),
        ("/exec/ns/p/b?command=x&output=1", StatusCode::NOT_FOUND),
        ("/exec/ns/p/a?command=x", StatusCode::BAD_REQUEST),
    ] {
        let refused = handshake(&bench, path, "v4.channel.k8s.io").await;
        assert_eq!(refused.status(), status, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_start_is_told_over_spdy() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    bench.runtime.break_exec("none");
    let path = "/exec/ns/p/a?command=none&output=1";
    let mut client = spdy(&bench, path, "v4.channel.k8s.io").await;
    let error = client.open(&[("streamtype", "error")]).await;
    client.open(&[("streamtype", "stdout")]).await;
    let data = client.until_ended(2).await;
    let status: Value = serde_json::from_slice(&data[&error]).unwrap();
    let message = "Internal error occurred: error executing command in container: \
                   failed to exec in container: no none";
    assert_eq!(status["message"], message);
}

#[tokio::test(start_paused = true)]
async fn all_that_a_client_types_before_it_leaves_arrives_over_spdy() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    let path = "/exec/ns/p/a?command=slow&input=1&output=1";
    let mut client = spdy(&bench, path, "v4.channel.k8s.io").await;
    client.open(&[("streamtype", "error")]).await;
    let stdin = client.open(&[("streamtype", "stdin")]).await;
    client.open(&[("streamtype", "stdout")]).await;
    for _ in 0..10 {
        client.send(stdin, &[b'x'; 1000], false).await;
    }
    drop(client);
    assert_eq!(bench.runtime.typed().await.len(), 10_000);
}

async fn spdy(
    bench: &Bench,
    path: &str,
    protocol: &str,
) -> crate::server::SpdyClient<TokioIo<hyper::upgrade::Upgraded>> {
    let request = Request::post(path)
        .header("host", "x")
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .header("x-stream-protocol-version", protocol)
        .body(Empty::new())
        .unwrap();
    let response = send(bench, request).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["x-stream-protocol-version"], protocol);
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    crate::server::SpdyClient::new(TokioIo::new(upgraded))
}

#[tokio::test(start_paused = true)]
async fn a_command_runs_over_spdy() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    let path = "/exec/ns/p/a?command=cat&input=1&output=1";
    let mut client = spdy(&bench, path, "v4.channel.k8s.io").await;
    let error = client.open(&[("streamtype", "error")]).await;
    let stdin = client.open(&[("streamtype", "stdin")]).await;
    let stdout = client.open(&[("streamtype", "stdout")]).await;
    client.send(stdin, b"hello", true).await;
    let data = client.until_ended(3).await;
    assert_eq!(data[&stdout], b"cat:hello");
    let status: Value = serde_json::from_slice(&data[&error]).unwrap();
    assert_eq!(status["reason"], "NonZeroExitCode");
}

#[tokio::test(start_paused = true)]
async fn ports_are_forwarded_over_spdy() {
    let bench = Bench::start().await;
    bench.pod(pod());
    bench.until("ready", is_ready).await;
    let mut client = spdy(&bench, "/portForward/ns/p", "portforward.k8s.io").await;
    let mut expected = Vec::new();
    for (id, port) in [("0", "80"), ("1", "81")] {
        let common = [("port", port), ("requestid", id)];
        client.open(&[("streamtype", "error"), common[0], common[1]]).await;
        let data = client.open(&[("streamtype", "data"), common[0], common[1]]).await;
        client.send(data, b"", true).await;
        expected.push((data, format!("port {port}").into_bytes()));
    }
    let data = client.until_ended(4).await;
    for (stream, text) in expected {
        assert_eq!(data[&stream], text);
    }
}
