//! Probing with the gRPC health protocol: one call, written out, because a whole gRPC client for one
//! message of two fields would be more.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use clock::Clock;
use http::header::{CONTENT_TYPE, TE};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::GRPCAction;
use podlife::backoff::go_duration;
use podlife::probe::Outcome;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::target;
use crate::limits::{PROBE_BODY_BYTES_MAX, PROBE_RECONNECT_PAUSE};

const SERVING: u64 = 1;

/// The names of gRPC's codes, as Go writes them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// A call without a result: a status of gRPC.
#[derive(Debug, PartialEq, Eq)]
struct CallError {
    code: String,
    message: String,
}

impl CallError {
    /// The connection broke or does not speak the protocol.
    fn unavailable(error: impl std::fmt::Display) -> Self {
        Self { code: "Unavailable".to_owned(), message: error.to_string() }
    }

    /// In upstream's words.
    fn text(&self, limit: Duration) -> String {
        let Self { code, message } = self;
        match code.as_str() {
            "Unimplemented" => format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
            ),
            "DeadlineExceeded" => call_timed_out(limit),
            _ => {
                format!("error: health rpc probe failed: rpc error: code = {code} desc = {message}")
            }
        }
    }
}

fn call_timed_out(limit: Duration) -> String {
    format!("timeout: health rpc did not complete within {}", go_duration(limit))
}

pub(crate) async fn probe(
    action: &GRPCAction,
    pod_ip: &str,
    limit: Duration,
    clock: &Clock,
) -> Outcome {
    let Ok(port) = u16::try_from(action.port) else {
        return Outcome::unknown(format!("invalid port number: {}", action.port));
    };
    let deadline = Instant::now() + limit;
    let address = target::authority(pod_ip, port);
    let Ok(stream) = timeout_at(deadline, connect((pod_ip, port), clock)).await else {
        let limit = go_duration(limit);
        return Outcome::Failure(format!(
            "timeout: failed to connect service {address:?} within {limit}: context deadline exceeded"
        ));
    };
    let service = action.service.as_deref().unwrap_or_default();
    match timeout_at(deadline, check(stream, &address, service)).await {
        Ok(Ok(SERVING)) => Outcome::Success,
        Ok(Ok(status)) => {
            let name = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
                .get(usize::try_from(status).unwrap_or(0))
                .unwrap_or(&"UNKNOWN");
            Outcome::Failure(format!("service unhealthy (responded with \"{name}\")"))
        }
        Ok(Err(error)) => Outcome::Failure(error.text(limit)),
        Err(_) => Outcome::Failure(call_timed_out(limit)),
    }
}

/// Connects, again and again: as upstream's, this probe waits for a server that is not there yet.
async fn connect(address: (&str, u16), clock: &Clock) -> TcpStream {
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return stream,
            Err(_) => clock.sleep(PROBE_RECONNECT_PAUSE).await,
        }
    }
}

async fn check(stream: TcpStream, authority: &str, service: &str) -> Result<u64, CallError> {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(CallError::unavailable)?;
    let request = http::Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(message(service)))
        .map_err(CallError::unavailable)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(CallError::unavailable)?;
        grpc_status(response.headers())?;
        let collected = http_body_util::Limited::new(response.into_body(), PROBE_BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(CallError::unavailable)?;
        if let Some(trailers) = collected.trailers() {
            grpc_status(trailers)?;
        }
        Ok(status_of(collected.to_bytes()))
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(match ended {
            Ok(()) => CallError::unavailable("the connection was closed"),
            Err(error) => CallError::unavailable(error),
        }),
    }
}

fn grpc_status(headers: &http::HeaderMap) -> Result<(), CallError> {
    let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match field("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => {
            let known = code.parse().ok().and_then(|number: usize| CODES.get(number));
            Err(CallError {
                code: known.map_or_else(|| format!("Code({code})"), |name| (*name).to_owned()),
                message: field("grpc-message").unwrap_or_default().to_owned(),
            })
        }
    }
}

/// A length-prefixed `HealthCheckRequest { service = 1 }`.
fn message(service: &str) -> Bytes {
    let mut body = Vec::new();
    if !service.is_empty() {
        body.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            body.push(0x80 | u8::try_from(length & 0x7f).unwrap_or(0));
            length >>= 7;
        }
        body.push(u8::try_from(length).unwrap_or(0));
        body.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    framed.extend_from_slice(&body);
    framed.into()
}

/// `status = 1` of a length-prefixed `HealthCheckResponse`; absent is 0.
fn status_of(mut bytes: Bytes) -> u64 {
    if bytes.len() < 7 {
        return 0;
    }
    bytes.advance(5);
    if bytes.get_u8() == 0x08 { u64::from(bytes.get_u8()) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(status_of(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1])), SERVING);
        assert_eq!(status_of(Bytes::from_static(&[0, 0, 0, 0, 0])), 0);
    }
    #[test]
    fn statuses_are_told_in_upstreams_words() {
        let told = |code: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert("grpc-status", code.parse().unwrap());
            headers.insert("grpc-message", "m".parse().unwrap());
            grpc_status(&headers).map_err(|error| error.text(Duration::from_secs(2)))
        };
        let failed = |code: &str| {
            Err(format!("error: health rpc probe failed: rpc error: code = {code} desc = m"))
        };
        assert_eq!(told("0"), Ok(()));
        assert_eq!(told("5"), failed("NotFound"));
        assert_eq!(told("99"), failed("Code(99)"));
        assert_eq!(told("4"), Err("timeout: health rpc did not complete within 2s".to_owned()));
        let unimplemented = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): m";
        assert_eq!(told("12"), Err(unimplemented.to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_not_there_is_waited_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let action = GRPCAction { port: port.into(), ..GRPCAction::default() };
        let (limit, clock) = (Duration::from_secs(3), Clock::system());
        let began = Instant::now();
        let outcome = probe(&action, "127.0.0.1", limit, &clock).await;
        let expected = format!(
            "timeout: failed to connect service \"127.0.0.1:{port}\" within 3s: context deadline exceeded"
        );
        assert_eq!(outcome, Outcome::Failure(expected));
        assert_eq!(began.elapsed(), limit);
    }
}
