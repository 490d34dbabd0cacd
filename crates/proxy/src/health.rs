//! What load balancers ask a node: whether it has endpoints of a Service, and whether the proxy works.
//!
//! One small HTTP server for each `healthCheckNodePort`, and one for `/healthz`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use netplan::service::HealthCheck;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::limits::{HEALTH_CHECK_TIME_MAX, HEALTH_CONNECTIONS_MAX, HEALTH_HEAD_BYTES_MAX};

/// Rules that have not been brought up to date for this long are unhealthy.
const STALE_AFTER: Duration = Duration::from_secs(120);

/// Whether the proxy keeps up; shared between the loop and who asks.
#[derive(Clone, Debug, Default)]
pub struct Healthz {
    state: Arc<Mutex<HealthzState>>,
}

#[derive(Debug, Default)]
struct HealthzState {
    last_updated: Option<k8s_openapi::jiff::Timestamp>,
    behind_since: Option<k8s_openapi::jiff::Timestamp>,
}

impl Healthz {
    /// A change is waiting to be applied since `now`.
    pub fn change_seen(&self, now: k8s_openapi::jiff::Timestamp) {
        self.state.lock().behind_since.get_or_insert(now);
    }

    /// Every change was applied at `now`.
    pub fn up_to_date(&self, now: k8s_openapi::jiff::Timestamp) {
        *self.state.lock() = HealthzState { last_updated: Some(now), behind_since: None };
    }

    /// Whether the rules were applied at least once and no change waits for too long.
    pub fn is_healthy(&self, now: k8s_openapi::jiff::Timestamp) -> bool {
        let state = self.state.lock();
        let waits = state.behind_since.map(|since| now.duration_since(since));
        state.last_updated.is_some() && waits.is_none_or(|waits| waits.unsigned_abs() < STALE_AFTER)
    }

    /// Answers `/healthz` on `address` until the scope ends.
    pub async fn serve(
        self,
        address: SocketAddr,
        clock: clock::Clock,
        scope: &task::Scope,
    ) -> std::io::Result<()> {
        let listener = TcpListener::bind(address).await?;
        let answer: Answer = Arc::new(move |path: &str| {
            let now = clock.now();
            let healthy = self.is_healthy(now);
            let last = self.state.lock().last_updated.map(|last| last.to_string());
            let body = serde_json::json!({
                "lastUpdated": last, "currentTime": now.to_string(), "nodeEligible": true,
            });
            match path {
                "/healthz" => respond(status_of(healthy), None, &body),
                "/livez" => respond(status_of(healthy), None, &body),
                _ => respond(StatusCode::NOT_FOUND, None, &serde_json::Value::Null),
            }
        });
        scope.spawn_until_cancelled("proxy-healthz", serve(listener, answer));
        Ok(())
    }
}

type Answer = Arc<dyn Fn(&str) -> Response<Full<Bytes>> + Send + Sync>;

/// One server for each health check port.
#[derive(Debug)]
pub struct HealthServers {
    scope: task::Scope,
    running: BTreeMap<u16, Running>,
}

#[derive(Debug)]
struct Running {
    scope: task::Scope,
    check: Arc<Mutex<HealthCheck>>,
}

impl HealthServers {
    /// No servers yet; those to come end with `scope`.
    pub fn new(scope: task::Scope) -> Self {
        Self { scope, running: BTreeMap::new() }
    }

    /// Has a server for each of `checks` and no others. A port that cannot be had is tried again with the
    /// next call.
    pub async fn set(&mut self, checks: &BTreeMap<u16, HealthCheck>) {
        self.running.retain(|port, running| {
            let wanted = checks.contains_key(port);
            if !wanted {
                running.scope.cancel();
            }
            wanted
        });
        for (port, check) in checks {
            match self.running.get(port) {
                Some(running) => *running.check.lock() = check.clone(),
                None => self.start(*port, check.clone()).await,
            }
        }
    }

    async fn start(&mut self, port: u16, check: HealthCheck) {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = match TcpListener::bind(any).await {
            Ok(listener) => Ok(listener),
            // Without IPv6 there is no address that stands for both families.
            Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
        };
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(port, service = check.name, %error, "cannot serve health checks");
                return;
            }
        };
        let check = Arc::new(Mutex::new(check));
        let shared = Arc::clone(&check);
        let answer: Answer = Arc::new(move |_| answer_check(&shared.lock()));
        let scope = self.scope.child();
        scope.spawn_until_cancelled("proxy-health-check", serve(listener, answer));
        self.running.insert(port, Running { scope, check });
    }
}

fn answer_check(check: &HealthCheck) -> Response<Full<Bytes>> {
    let body = serde_json::json!({
        "service": {"namespace": check.namespace, "name": check.name},
        "localEndpoints": check.local_endpoints,
        "serviceProxyHealthy": true,
    });
    respond(status_of(check.local_endpoints > 0), Some(check.local_endpoints), &body)
}

fn status_of(healthy: bool) -> StatusCode {
    if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn respond(
    status: StatusCode,
    weight: Option<usize>,
    body: &serde_json::Value,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    headers.insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
    if let Some(weight) = weight {
        headers.insert("x-load-balancing-endpoint-weight", weight.into());
    }
    response
}

async fn serve(listener: TcpListener, answer: Answer) {
    let slots = Arc::new(Semaphore::new(HEALTH_CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a health check went away before it was accepted");
                continue;
            }
        };
        let answer = Arc::clone(&answer);
        // Bounded by the slots and by time, so it need not be waited for.
        tokio::spawn(async move {
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let response = answer(request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .max_buf_size(HEALTH_HEAD_BYTES_MAX)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(HEALTH_CHECK_TIME_MAX, connection).await {
                tracing::debug!(%error, "a health check broke off");
            }
            drop(slot);
        });
    }
}
