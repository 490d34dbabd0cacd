//! `log`, `exec`, `attach`, `portforward` and `proxy`: the request goes on to a kubelet, a pod or a
//! Service's endpoint.
//!
//! Upgrades (WebSocket, SPDY) are passed through byte for byte: both ends speak them, this server only
//! checks rights and connects.

mod html;
mod options;

use std::sync::Arc;

use admission::Operation;
use api::status::Status;
use http::header::{CONNECTION, HOST, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::call::{Call, WriteOptions};
use crate::dial::NodeStream;
use crate::limits::STREAM_LINGER_MAX;
use crate::respond::{Answer, Body as HttpBody, BodyError, Streaming};
use crate::server::Server;
use crate::websocket::{self, Messages};

/// How long a target may take to accept a connection.
const DIAL_MAX: std::time::Duration = std::time::Duration::from_secs(30);
/// How long a target has to read what a client said before it left.
const LAST_WORDS_MAX: std::time::Duration = std::time::Duration::from_secs(30);
/// Headers that concern one connection only.
const HOP_BY_HOP: &[&str] =
    &["keep-alive", "proxy-authenticate", "proxy-authorization", "trailer", "authorization"];

/// Answers by asking someone else.
///
/// # Errors
/// The target does not exist, is not ready or cannot be reached.
pub(super) async fn answer(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
) -> Result<Answer, Status> {
    match call.subresource() {
        "log" => options::check_log(call)?,
        "portforward" => options::check_ports(call)?,
        _ => {}
    }
    if call.subresource() != "log" {
        admit(server, call).await?;
    }
    if call.subresource() == "proxy" && html::needs_slash(call, &request) {
        return html::redirect(&request);
    }
    match (&*call.resource.plural, call.subresource()) {
        ("pods", "proxy") => html::rewritten(call, proxy_pod(server, call, request).await?).await,
        ("services", "proxy") => {
            html::rewritten(call, proxy_service(server, call, request).await?).await
        }
        ("nodes", "proxy") => {
            // Whatever the port, it is the kubelet that is asked.
            let (_, node, _) = split_target(&call.info.name);
            let missing = || Status::not_found("", "nodes", node);
            server.caches.place("", "nodes").get("", node).ok_or_else(missing)?;
            let path = format!("/{}", call.info.rest);
            let target = target_uri(&path, request.uri().query())?;
            let stream = dial_node(server, node).await?;
            forward(server, call, request, target, stream).await
        }
        ("pods", _) => kubelet(server, call, request).await,
        _ => Err(Status::no_such_path()),
    }
}

async fn admit(server: &Arc<Server>, call: &Call) -> Result<(), Status> {
    let (null, write) = (Value::Null, WriteOptions::default());
    let now = server.clock.now();
    let mut request = call.admission(Operation::Connect, options(call), None, &null, &write, now);
    server.admit_mutating(call, &mut request).await?;
    server.admit_validating(call, &mut request).await
}

/// What is asked of the connection, in the form that admission sees: `PodExecOptions` and the like.
fn options(call: &Call) -> Value {
    let kind = match (&*call.resource.plural, call.subresource()) {
        ("pods", "exec") => "PodExecOptions",
        ("pods", "attach") => "PodAttachOptions",
        ("pods", "portforward") => "PodPortForwardOptions",
        ("pods", _) => "PodProxyOptions",
        ("services", _) => "ServiceProxyOptions",
        _ => "NodeProxyOptions",
    };
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    if call.subresource() == "proxy" {
        options["path"] = json!(format!("/{}", call.info.rest));
        return options;
    }
    for flag in ["stdin", "stdout", "stderr", "tty"] {
        if call.query.flag(flag) {
            options[flag] = json!(true);
        }
    }
    if let Some(container) = call.query.get("container") {
        options["container"] = json!(container);
    }
    let command: Vec<&str> = call.query.all("command").collect();
    if !command.is_empty() {
        options["command"] = json!(command);
    }
    let ports: Vec<u16> = call.query.all("ports").filter_map(|port| port.parse().ok()).collect();
    if !ports.is_empty() {
        options["ports"] = json!(ports);
    }
    options
}

async fn pod_of(server: &Arc<Server>, call: &Call, name: &str) -> Result<Arc<Pod>, Status> {
    server.fresh().await?;
    let found = server.caches.place("", "pods").get(&call.info.namespace, name);
    let found = found.ok_or_else(|| Status::not_found("", "pods", name))?;
    found.typed::<Pod>().map_err(Status::internal)
}

/// `log`, `exec`, `attach`, `portforward`: the kubelet of the pod's node does it.
async fn kubelet(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
) -> Result<Answer, Status> {
    let name = call.info.name.as_str();
    let pod = pod_of(server, call, name).await?;
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let namespace = &call.info.namespace;
    let mut path = match call.subresource() {
        "log" => format!("/containerLogs/{namespace}/{name}"),
        "portforward" => format!("/portForward/{namespace}/{name}"),
        other => format!("/{other}/{namespace}/{name}"),
    };
    if call.subresource() != "portforward" {
        let container = container_of(&pod, call)?;
        path.push('/');
        path.push_str(&container);
    }
    if node.is_empty() {
        return match call.subresource() {
            "log" => Ok(crate::respond::text_answer(204, "")),
            _ => Err(Status::bad_request(format!("pod {name} does not have a host assigned"))),
        };
    }
    let query = request.uri().query().unwrap_or_default();
    if call.subresource() == "log" {
        let target = target_uri(&path, Some(query))?;
        let stream = dial_node(server, &node).await?;
        return log(server, call, request, target, stream).await;
    }
    let target = target_uri(&path, Some(&stream_query(query)))?;
    let stream = dial_node(server, &node).await?;
    forward(server, call, request, target, stream).await
}

/// The query of a stream under the kubelet's names: it calls the options otherwise than the API does, wants flags as
/// `1`, and has the container in its path.
fn stream_query(query: &str) -> String {
    let rename = |pair: &str| -> Option<String> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let flag = |name: &str| matches!(value, "1" | "true" | "").then(|| format!("{name}=1"));
        match key {
            "stdin" => flag("input"),
            "stdout" => flag("output"),
            "stderr" => flag("error"),
            "tty" => flag("tty"),
            "ports" => Some(format!("port={value}")),
            "container" => None,
            _ => Some(pair.to_owned()),
        }
    };
    query.split('&').filter_map(rename).collect::<Vec<_>>().join("&")
}

/// A container's log, as a stream or in messages; what the kubelet refuses becomes a status.
async fn log(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
    target: Uri,
    stream: Box<dyn NodeStream>,
) -> Result<Answer, Status> {
    let mut plain = Request::new(crate::respond::full(""));
    plain.method_mut().clone_from(request.method());
    let answer = send_on(server, plain, target, HeaderMap::new(), stream).await?;
    let code = answer.status();
    let body = answer.into_body().map_err(|error| BodyError(error.into())).boxed_unsync();
    if !code.is_success() {
        let text = crate::body::read(body).await?;
        let reason = if code == StatusCode::NOT_FOUND { "NotFound" } else { "BadRequest" };
        let reason = if code.is_server_error() { "InternalError" } else { reason };
        let message = String::from_utf8_lossy(&text).trim().to_owned();
        return Err(Status::failure(code.as_u16(), reason, message));
    }
    if websocket::is_wanted(call) {
        return websocket::carry(server, call, request, body, Messages::Pieces);
    }
    Ok(crate::respond::answer(200, "text/plain", body))
}

/// The container that the request names, or the only or default one.
fn container_of(pod: &Pod, call: &Call) -> Result<String, Status> {
    let name = &call.info.name;
    let Some(spec) = &pod.spec else { return Err(Status::internal("a pod without a spec")) };
    let asked = call.query.text("container");
    let init: &[Container] = spec.init_containers.as_deref().unwrap_or_default();
    let ephemeral = spec.ephemeral_containers.as_deref().unwrap_or_default();
    if !asked.is_empty() {
        let known = spec.containers.iter().chain(init).any(|c| c.name == asked)
            || ephemeral.iter().any(|c| c.name == asked);
        return if known {
            Ok(asked.to_owned())
        } else {
            Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")))
        };
    }
    match spec.containers.as_slice() {
        [only] => Ok(only.name.clone()),
        many => {
            let list = |containers: &mut dyn Iterator<Item = &String>| {
                containers.map(String::as_str).collect::<Vec<_>>().join(" ")
            };
            let names = list(&mut many.iter().map(|c| &c.name));
            let mut message = format!(
                "a container name must be specified for pod {name}, choose one of: [{names}]"
            );
            if !init.is_empty() {
                let names = list(&mut init.iter().map(|c| &c.name));
                message.push_str(&format!(" or one of the init containers: [{names}]"));
            }
            Err(Status::bad_request(message))
        }
    }
}

async fn dial_node(server: &Arc<Server>, node: &str) -> Result<Box<dyn NodeStream>, Status> {
    let dialing = tokio::time::timeout(DIAL_MAX, server.config.dialer.dial(node)).await;
    let failed = |why: String| {
        Status::failure(
            502,
            "BadGateway",
            format!("error dialing the kubelet of node {node}: {why}"),
        )
    };
    match dialing {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("timed out".to_owned())),
    }
}

/// `[scheme:]name[:port]`, as the names of proxied pods and Services are written.
fn split_target(text: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [scheme @ ("http" | "https"), name, port] => (scheme, name, port),
        [name, port] => ("", name, port),
        _ => ("", text, ""),
    }
}

async fn proxy_pod(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
) -> Result<Answer, Status> {
    let (scheme, name, port) = split_target(&call.info.name);
    let pod = pod_of(server, call, name).await?;
    let status = pod.status.as_ref();
    let ip = status.and_then(|status| status.pod_ip.clone()).unwrap_or_default();
    if ip.is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have an IP address")));
    }
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let ports = || containers.iter().flat_map(|c| c.ports.iter().flatten());
    let port = match port {
        "" => ports().next().and_then(|port| u16::try_from(port.container_port).ok()).unwrap_or(80),
        text => match text.parse() {
            Ok(number) => number,
            Err(_) => ports()
                .find(|port| port.name.as_deref() == Some(text))
                .and_then(|port| u16::try_from(port.container_port).ok())
                .ok_or_else(|| Status::bad_request(format!("no port {text} in pod {name}")))?,
        },
    };
    proxy_to(server, call, request, scheme, &ip, port).await
}

async fn proxy_service(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
) -> Result<Answer, Status> {
    let (scheme, name, port) = split_target(&call.info.name);
    server.fresh().await?;
    let namespace = call.info.namespace.as_str();
    let service = server.caches.place("", "services").get(namespace, name);
    let service = service.ok_or_else(|| Status::not_found("", "services", name))?.to_value();
    let port_name = service_port_name(&service, port);
    let no_endpoints =
        || Status::unavailable(format!("no endpoints available for service \"{name}\""));
    let port_name = port_name.ok_or_else(|| {
        Status::unavailable(format!("no service port \"{port}\" found for service \"{name}\""))
    })?;
    let slices = server
        .caches
        .place("discovery.k8s.io", "endpointslices")
        .list(namespace, |slice| slice.label("kubernetes.io/service-name") == Some(name));
    let mut targets: Vec<(String, u16)> = Vec::new();
    for slice in slices {
        let slice = slice.typed::<EndpointSlice>().map_err(Status::internal)?;
        let number = slice
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref().unwrap_or_default() == port_name);
        let number = number.and_then(|port| u16::try_from(port.port?).ok());
        let Some(number) = number else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
            if ready {
                targets.extend(endpoint.addresses.first().map(|ip| (ip.clone(), number)));
            }
        }
    }
    if targets.is_empty() {
        return Err(no_endpoints());
    }
    let at = server.random.lock().below(targets.len());
    let (ip, port) = targets.swap_remove(at);
    proxy_to(server, call, request, scheme, &ip, port).await
}

/// The name of the Service port that a path names by name or number, or the only one.
fn service_port_name(service: &Value, wanted: &str) -> Option<String> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array)?;
    let name =
        |port: &Value| port.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if wanted.is_empty() {
        return match ports.as_slice() {
            [only] => Some(name(only)),
            many => many.iter().map(name).find(String::is_empty),
        };
    }
    let fits = |port: &&Value| {
        let number = port.get("port").and_then(Value::as_u64);
        name(port) == wanted || number.is_some_and(|number| number.to_string() == wanted)
    };
    ports.iter().find(fits).map(name)
}

async fn proxy_to(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
    scheme: &str,
    ip: &str,
    port: u16,
) -> Result<Answer, Status> {
    let unreachable = |why: String| {
        Status::unavailable(format!("error trying to reach service: dial tcp {ip}:{port}: {why}"))
    };
    let address: std::net::IpAddr =
        ip.parse().map_err(|_| unreachable("the address cannot be read".to_owned()))?;
    if address.is_loopback() || address.is_multicast() || is_link_local(address) {
        return Err(Status::bad_request(format!("address not allowed: {address}")));
    }
    let target = target_uri(&format!("/{}", call.info.rest), request.uri().query())?;
    let connecting = tokio::net::TcpStream::connect((address, port));
    let stream = match tokio::time::timeout(DIAL_MAX, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable("i/o timeout".to_owned())),
    };
    let stream: Box<dyn NodeStream> = match scheme {
        "https" => crate::dial::over_tls_unverified(stream, address)
            .await
            .map_err(|error| unreachable(error.to_string()))?,
        _ => Box::new(stream),
    };
    forward(server, call, request, target, stream).await
}

fn is_link_local(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(v4) => v4.is_link_local(),
        std::net::IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0) == 0xfe80,
    }
}

fn target_uri(path: &str, query: Option<&str>) -> Result<Uri, Status> {
    let encoded: String = path.replace(' ', "%20");
    let text = match query {
        Some(query) if !query.is_empty() => format!("{encoded}?{query}"),
        _ => encoded,
    };
    text.parse().map_err(|_| Status::bad_request("the path cannot be proxied"))
}

/// Sends the request on over a fresh HTTP/1.1 connection, and the answer (or the upgraded stream) back.
async fn forward(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
    target: Uri,
    stream: Box<dyn NodeStream>,
) -> Result<Answer, Status> {
    pass_on(server, request, target, onward_headers(&call.headers), stream).await
}

/// As [`forward`], with these headers.
///
/// # Errors
/// 502.
pub(crate) async fn pass_on(
    server: &Arc<Server>,
    mut request: Request<HttpBody>,
    target: Uri,
    headers: HeaderMap,
    stream: Box<dyn NodeStream>,
) -> Result<Answer, Status> {
    let client_side = headers.contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let mut answer = send_on(server, request, target, headers, stream).await?;
    let (open, streaming) = Streaming::begin();
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client_side) = client_side
    {
        let target_side = hyper::upgrade::on(&mut answer);
        server.scope.spawn_until_cancelled("proxied upgrade", async move {
            join(client_side, target_side).await;
            drop(open);
        });
    }
    let (parts, body) = answer.into_parts();
    let mut answer = Answer::new(body.map_err(|error| BodyError(error.into())).boxed_unsync());
    *answer.status_mut() = parts.status;
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        answer.extensions_mut().insert(streaming);
    }
    for (name, value) in &parts.headers {
        let upgrades = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        let hop = (name == CONNECTION && !upgrades) || name == TRANSFER_ENCODING;
        if !hop && !HOP_BY_HOP.contains(&name.as_str()) {
            answer.headers_mut().append(name, value.clone());
        }
    }
    Ok(answer)
}

async fn send_on(
    server: &Arc<Server>,
    request: Request<HttpBody>,
    target: Uri,
    headers: HeaderMap,
    stream: Box<dyn NodeStream>,
) -> Result<http::Response<hyper::body::Incoming>, Status> {
    let bad_gateway = |error: hyper::Error| {
        Status::failure(502, "BadGateway", format!("error proxying: {error}"))
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(bad_gateway)?;
    server.scope.spawn_until_cancelled("proxied connection", async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    let method = request.method().clone();
    let mut onward = Request::new(request.into_body());
    *onward.method_mut() = method;
    *onward.uri_mut() = target;
    *onward.headers_mut() = headers;
    onward.headers_mut().entry(HOST).or_insert(HeaderValue::from_static("localhost"));
    sender.send_request(onward).await.map_err(bad_gateway)
}

/// The headers that concern more than this connection, and an upgrade.
pub(crate) fn onward_headers(headers: &HeaderMap) -> HeaderMap {
    let upgrade = headers.get(UPGRADE);
    let mut onward = HeaderMap::new();
    for (name, value) in headers {
        let hop = [CONNECTION, UPGRADE, TE, TRANSFER_ENCODING, HOST].contains(name)
            || HOP_BY_HOP.contains(&name.as_str())
            || name.as_str().starts_with("impersonate-");
        if !hop {
            onward.append(name, value.clone());
        }
    }
    onward.insert(HOST, HeaderValue::from_static("localhost"));
    if let Some(upgrade) = upgrade {
        onward.insert(UPGRADE, upgrade.clone());
        onward.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    onward
}

async fn join(client_side: hyper::upgrade::OnUpgrade, target_side: hyper::upgrade::OnUpgrade) {
    let (client_side, target_side) = match tokio::try_join!(client_side, target_side) {
        Ok(pair) => pair,
        Err(error) => {
            tracing::debug!(%error, "an upgrade failed");
            return;
        }
    };
    if let Err(error) = carry(TokioIo::new(client_side), TokioIo::new(target_side)).await {
        tracing::debug!(%error, "a proxied stream broke");
    }
}

/// Copies both ways until both have ended. That one side listens no more is no reason to keep its last words from the
/// other: each way ends by itself, and what is left of the other has a moment to arrive.
async fn carry<C, T>(client: C, target: T) -> std::io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    T: AsyncRead + AsyncWrite,
{
    let (from_client, to_client) = tokio::io::split(client);
    let (from_target, to_target) = tokio::io::split(target);
    let mut onward = std::pin::pin!(carry_one_way(from_client, to_target));
    let mut back = std::pin::pin!(carry_one_way(from_target, to_client));
    tokio::select! {
        (ended, from_target) = &mut back => {
            if ended.is_err() {
                let last_words = async { tokio::join!(onward, read_away(from_target)) };
                let _in_time = tokio::time::timeout(LAST_WORDS_MAX, last_words).await;
            } else {
                // Whoever closes with something unread takes back what is on its way.
                let _in_time = tokio::time::timeout(STREAM_LINGER_MAX, onward).await;
            }
            ended
        }
        (ended, _) = &mut onward => {
            let back = async {
                let (ended, from_target) = back.await;
                if ended.is_err() {
                    let reading = read_away(from_target);
                    let _in_time = tokio::time::timeout(LAST_WORDS_MAX, reading).await;
                }
                ended
            };
            if ended.is_ok() {
                return back.await;
            }
            let _in_time = tokio::time::timeout(LAST_WORDS_MAX, back).await;
            ended
        }
    }
}

/// Copies one way to its end, and gives back what may have more to say to somebody else.
async fn carry_one_way<R, W>(mut from: R, mut to: W) -> (std::io::Result<()>, R)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let copied = tokio::io::copy(&mut from, &mut to).await;
    let closed = to.shutdown().await;
    (copied.and(closed), from)
}

/// Reads what nobody wants: who cannot write might not read either, and who closes with something unread takes back
/// what is on its way.
async fn read_away<R: AsyncRead + Unpin>(mut from: R) {
    if let Err(error) = tokio::io::copy(&mut from, &mut tokio::io::sink()).await {
        tracing::debug!(%error, "a proxied stream broke");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn last_words_reach_a_client_that_still_talks() {
        use tokio::io::{AsyncReadExt as _, duplex};
        let (mut client, near) = duplex(64);
        let (far, mut target) = duplex(64);
        let carrying = tokio::spawn(carry(near, far));
        target.write_all(b"last words").await.unwrap();
        drop(target);
        client.write_all(b"still talking").await.unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"last words");
        drop(client);
        let _broken = carrying.await.unwrap();
    }

    #[tokio::test]
    async fn what_a_client_said_before_it_left_arrives_at_a_target_that_talks() {
        use tokio::io::{AsyncReadExt as _, duplex};
        let (mut client, near) = duplex(10_000);
        let (far, mut target) = duplex(64);
        client.write_all(&[b'x'; 10_000]).await.unwrap();
        drop(client);
        let carrying = tokio::spawn(carry(near, far));
        // More than fits, and nobody wants it.
        let _gone = target.write_all(&[b'y'; 10_000]).await;
        let mut heard = Vec::new();
        target.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard.len(), 10_000);
        drop(target);
        let _broken = carrying.await.unwrap();
    }

    #[test]
    fn the_kubelet_gets_its_own_names() {
        let cases = [
            (
                "command=sh&command=-c&stdin=true&stdout=1&tty=false",
                "command=sh&command=-c&input=1&output=1",
            ),
            ("container=c&stderr=true", "error=1"),
            ("ports=80&ports=81", "port=80&port=81"),
            ("", ""),
        ];
        for (query, expected) in cases {
            assert_eq!(stream_query(query), expected, "{query}");
        }
    }

    #[test]
    fn targets_are_split() {
        let cases = [
            ("web", ("", "web", "")),
            ("web:80", ("", "web", "80")),
            ("https:web:443", ("https", "web", "443")),
            ("http:web:", ("http", "web", "")),
        ];
        for (text, expected) in cases {
            assert_eq!(split_target(text), expected);
        }
    }
}
