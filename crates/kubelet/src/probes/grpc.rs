//! Probing with the gRPC health protocol: one call, written out, because a whole gRPC client for one
//! message of two fields would be more.

use bytes::{Buf as _, Bytes};
use http::header::{CONTENT_TYPE, TE};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::GRPCAction;
use tokio::net::TcpStream;

use super::{Outcome, tcp};
use crate::limits::PROBE_BODY_BYTES_MAX;

const SERVING: u64 = 1;

pub(crate) async fn probe(action: &GRPCAction, pod_ip: &str) -> Outcome {
    let Ok(port) = u16::try_from(action.port) else {
        return Outcome::Unknown(format!("invalid port number: {}", action.port));
    };
    let stream = match TcpStream::connect((pod_ip, port)).await {
        Ok(stream) => stream,
        Err(error) => {
            let text = tcp::describe(&error);
            return Outcome::Failure(format!(
                "error: failed to connect service at \"{pod_ip}:{port}\": dial tcp {pod_ip}:{port}: {text}"
            ));
        }
    };
    let service = action.service.as_deref().unwrap_or_default();
    match check(stream, &format!("{pod_ip}:{port}"), service).await {
        Ok(SERVING) => Outcome::Success,
        Ok(status) => {
            let name = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
                .get(usize::try_from(status).unwrap_or(0))
                .unwrap_or(&"UNKNOWN");
            Outcome::Failure(format!("service unhealthy (responded with \"{name}\")"))
        }
        Err(text) => Outcome::Failure(format!("error: health rpc probe failed: {text}")),
    }
}

async fn check(stream: TcpStream, authority: &str, service: &str) -> Result<u64, String> {
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(text)?;
    let request = http::Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(message(service)))
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(text)?;
        grpc_status(response.headers())?;
        let collected = http_body_util::Limited::new(response.into_body(), PROBE_BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        if let Some(trailers) = collected.trailers() {
            grpc_status(trailers)?;
        }
        Ok(status_of(collected.to_bytes()))
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(match ended {
            Ok(()) => "the connection was closed".to_owned(),
            Err(error) => error.to_string(),
        }),
    }
}

fn grpc_status(headers: &http::HeaderMap) -> Result<(), String> {
    let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match field("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => {
            let message = field("grpc-message").unwrap_or_default();
            Err(format!("rpc error: code = {code} desc = {message}"))
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
}
