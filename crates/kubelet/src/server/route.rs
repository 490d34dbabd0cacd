//! Which answer belongs to which path.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use podlife::pod;
use serde_json::json;

use super::access::{Access, Attributes, Caller, Refusal};
use super::session::{StreamOptions, Target};
use super::{LogOptions, LogStream, RequestError, metrics, node_logs, stats, upgrade, websocket};
use crate::Kubelet;

pub(super) type Body = BoxBody<Bytes, std::convert::Infallible>;
type Query = Vec<(String, String)>;

/// Answers one request.
pub(super) async fn answer(
    kubelet: Kubelet,
    access: Arc<dyn Access>,
    mut caller: Caller,
    request: Request<Incoming>,
) -> Response<Body> {
    let bearer = request.headers().get(AUTHORIZATION).and_then(|it| it.to_str().ok());
    caller.bearer = bearer.and_then(|it| it.strip_prefix("Bearer ")).map(str::to_owned);
    let attributes = attributes(request.method(), request.uri().path());
    match access.check(&caller, &attributes).await {
        Ok(()) => {}
        Err(Refusal::Unauthorized) => {
            return text(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
        }
        Err(Refusal::Forbidden(message)) => return text(StatusCode::FORBIDDEN, message),
        Err(Refusal::Unavailable(message)) => {
            return text(StatusCode::INTERNAL_SERVER_ERROR, message);
        }
    }
    match route(&kubelet, request).await {
        Ok(response) => response,
        Err(error) => text(error.status, error.message),
    }
}

/// A request in the terms of authorization.
fn attributes(method: &Method, path: &str) -> Attributes {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let subresource = match first {
        "stats" => "stats",
        "metrics" => "metrics",
        "logs" => "log",
        "configz" => "configz",
        "healthz" => "healthz",
        "pods" | "runningpods" => "pods",
        _ => "proxy",
    };
    Attributes { verb, subresource }
}

fn text(status: StatusCode, message: String) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", message.into())
}

pub(super) fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

fn json_text(value: &impl serde::Serialize) -> Result<Response<Body>, RequestError> {
    let body = serde_json::to_vec(value)
        .map_err(|error| RequestError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(respond(StatusCode::OK, "application/json", body.into()))
}

fn exposition(body: String) -> Response<Body> {
    respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body.into())
}

async fn route(
    kubelet: &Kubelet,
    request: Request<Incoming>,
) -> Result<Response<Body>, RequestError> {
    let path = request.uri().path().to_owned();
    let query = parse_query(request.uri().query().unwrap_or_default());
    let segments: Vec<String> =
        path.trim_matches('/').split('/').map(|it| decode(it, false)).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] => {
            Ok(text(StatusCode::OK, "ok".to_owned()))
        }
        ["pods"] => json_text(&pod_list(kubelet, false)),
        ["runningpods"] => json_text(&pod_list(kubelet, true)),
        ["configz"] => json_text(&configz(kubelet)),
        ["stats"] | ["stats", "summary"] => json_text(&stats::summary(kubelet).await?),
        ["metrics"] => Ok(exposition(metrics::own(kubelet))),
        ["metrics", "resource"] => Ok(exposition(metrics::resource(kubelet).await?)),
        ["metrics", "cadvisor"] => Ok(exposition(metrics::cadvisor(kubelet).await?)),
        ["metrics", "probes"] => Ok(exposition(metrics::probes(kubelet))),
        ["containerLogs", namespace, pod, container] => {
            logs(kubelet, target(namespace, pod, "", container), &query).await
        }
        ["logs", ..] => {
            let root = kubelet.shared.config.log_root.clone();
            let below = path.trim_start_matches('/').strip_prefix("logs").unwrap_or_default();
            node_logs::answer(root, request.method(), decode(below, false)).await
        }
        ["exec" | "attach" | "run" | "portForward", ..] => {
            session(kubelet, &segments, query, request).await
        }
        _ => Err(RequestError::not_found("404 page not found")),
    }
}

fn target(namespace: &str, pod: &str, uid: &str, container: &str) -> Target {
    Target {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        uid: uid.to_owned(),
        container: container.to_owned(),
    }
}

async fn session(
    kubelet: &Kubelet,
    segments: &[&str],
    query: Query,
    request: Request<Incoming>,
) -> Result<Response<Body>, RequestError> {
    let target = match segments {
        ["portForward", namespace, pod] => target(namespace, pod, "", ""),
        ["portForward", namespace, pod, uid] => target(namespace, pod, uid, ""),
        [_, namespace, pod, container] => target(namespace, pod, "", container),
        [_, namespace, pod, uid, container] => target(namespace, pod, uid, container),
        _ => return Err(RequestError::not_found("404 page not found")),
    };
    if segments[0] == "run" {
        let command = all(&query, "cmd");
        let words = command.iter().flat_map(|it| it.split_whitespace());
        let output = kubelet.run_command(&target, words.map(str::to_owned).collect()).await?;
        return Ok(respond(StatusCode::OK, "text/plain; charset=utf-8", output.into()));
    }
    let over_spdy = upgrade::is_upgrade(request.headers());
    if !over_spdy && !websocket::is_upgrade(request.headers()) {
        return Err(RequestError::bad("Upgrade request required"));
    }
    if segments[0] == "portForward" {
        kubelet.find_pod(&target)?;
        if over_spdy {
            return upgraded(upgrade::forward(kubelet, request, target)?);
        }
        let ports: Result<Vec<u16>, _> = all(&query, "port")
            .iter()
            .flat_map(|it| it.split(','))
            .map(|port| {
                port.parse()
                    .map_err(|_| RequestError::bad(format!("unable to parse \"{port}\" as a port")))
            })
            .collect();
        let ports = ports?;
        return upgraded(websocket::forward(kubelet, request, target, ports)?);
    }
    let options = stream_options(&query)?;
    let session = if segments[0] == "exec" {
        kubelet.exec(&target, &options).await?
    } else {
        kubelet.attach(&target, &options).await?
    };
    upgraded(if over_spdy {
        upgrade::join(kubelet, request, session, options)?
    } else {
        websocket::join(kubelet, request, session, options)?
    })
}

fn upgraded(response: Response<()>) -> Result<Response<Body>, RequestError> {
    Ok(response.map(|()| Full::new(Bytes::new()).boxed()))
}

fn stream_options(query: &Query) -> Result<StreamOptions, RequestError> {
    let on = |name: &str| matches!(first(query, name), Some("1" | "true"));
    let tty = on("tty");
    let options = StreamOptions {
        command: all(query, "command"),
        tty,
        stdin: on("input"),
        stdout: on("output"),
        // A terminal has one output.
        stderr: on("error") && !tty,
    };
    if !options.stdin && !options.stdout && !options.stderr {
        return Err(RequestError::bad("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(options)
}

fn log_options(kubelet: &Kubelet, query: &Query) -> Result<LogOptions, RequestError> {
    let on = |name: &str| matches!(first(query, name), Some("1" | "true"));
    let number = |name: &str| -> Result<Option<u64>, RequestError> {
        match first(query, name) {
            None | Some("") | Some("all") => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| RequestError::bad(format!("unable to parse \"{name}\": {text}"))),
        }
    };
    let since = match (number("sinceSeconds")?, first(query, "sinceTime")) {
        (Some(seconds), _) => {
            let now = kubelet.shared.clock.now();
            now.checked_sub(std::time::Duration::from_secs(seconds)).ok()
        }
        (None, Some(time)) if !time.is_empty() => Some(
            time.parse()
                .map_err(|_| RequestError::bad(format!("unable to parse \"sinceTime\": {time}")))?,
        ),
        _ => None,
    };
    Ok(LogOptions {
        follow: on("follow"),
        previous: on("previous"),
        timestamps: on("timestamps"),
        tail_lines: number("tailLines")?.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
        limit_bytes: number("limitBytes")?,
        since,
        stream: match first(query, "stream") {
            Some("Stdout") => Some(LogStream::Stdout),
            Some("Stderr") => Some(LogStream::Stderr),
            _ => None,
        },
    })
}

async fn logs(
    kubelet: &Kubelet,
    target: Target,
    query: &Query,
) -> Result<Response<Body>, RequestError> {
    let options = log_options(kubelet, query)?;
    let mut pieces = kubelet.logs(&target, options).await?;
    let stream = futures::stream::poll_fn(move |context| pieces.poll_recv(context));
    let frames = stream.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece)));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(SyncStream::new(frames))));
    let plain = http::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    Ok(response)
}

/// A stream that is polled by one owner only, and so may be shared without a lock being held.
pub(super) struct SyncStream<S>(parking_lot::Mutex<std::pin::Pin<Box<S>>>);

impl<S> SyncStream<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(parking_lot::Mutex::new(Box::pin(stream)))
    }
}

impl<S: futures::Stream> futures::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.get_mut().as_mut().poll_next(context)
    }
}

fn pod_list(kubelet: &Kubelet, running: bool) -> serde_json::Value {
    let registry = &kubelet.shared.registry;
    let items = kubelet.shared.pods.list().into_iter().map(|pod| {
        let mut pod = (*pod).clone();
        if let Some(signals) = registry.get(pod::uid(&pod)) {
            pod.status = Some(signals.status.lock().clone());
        }
        pod
    });
    let phase = |pod: &k8s_openapi::api::core::v1::Pod| {
        pod.status.as_ref().and_then(|status| status.phase.clone())
    };
    let items: Vec<_> =
        items.filter(|pod| !running || phase(pod).as_deref() == Some("Running")).collect();
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
}

fn configz(kubelet: &Kubelet) -> serde_json::Value {
    let config = &kubelet.shared.config;
    json!({"kubeletconfig": {
        "port": config.port,
        "clusterDomain": config.cluster_domain,
        "clusterDNS": config.cluster_dns,
        "maxPods": config.pods_max,
        "cgroupRoot": config.cgroup_prefix,
        "resolvConf": config.resolv_conf,
        "nodeStatusReportFrequency": "5m0s",
        "nodeLeaseDurationSeconds": crate::limits::LEASE_SECONDS,
        "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": crate::limits::LOG_FILES_MAX,
        "authentication": {"anonymous": {"enabled": false}},
        "featureGates": BTreeMap::<String, bool>::new(),
    }})
}

fn first<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn all(query: &Query, name: &str) -> Vec<String> {
    query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
}

fn parse_query(query: &str) -> Query {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        })
        .collect()
}

/// Undoes percent encoding; in a query a plus is a space.
fn decode(text: &str, in_query: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|it| std::str::from_utf8(it).ok());
        let code = hex.and_then(|it| u8::from_str_radix(it, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(code)) => {
                out.push(code);
                at += 2;
            }
            (b'+', _) if in_query => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_taken_apart() {
        let query = parse_query("command=a%20b&command=c+d&input=1&x");
        assert_eq!(all(&query, "command"), ["a b", "c d"]);
        assert_eq!((first(&query, "input"), first(&query, "x")), (Some("1"), Some("")));
        assert_eq!(decode("a+b%2f%zz", false), "a+b/%zz");
    }

    #[test]
    fn paths_are_subresources_of_the_node() {
        for (method, path, verb, subresource) in [
            (Method::GET, "/stats/summary", "get", "stats"),
            (Method::GET, "/metrics/resource", "get", "metrics"),
            (Method::POST, "/exec/ns/p/c", "create", "proxy"),
            (Method::GET, "/containerLogs/ns/p/c", "get", "proxy"),
            (Method::GET, "/pods", "get", "pods"),
        ] {
            assert_eq!(attributes(&method, path), Attributes { verb, subresource }, "{path}");
        }
    }
}
