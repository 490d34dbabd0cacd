//! Watches and logs over a WebSocket, for clients that upgrade instead of reading a stream.

use std::sync::Arc;

use api::status::Status;
use futures::{SinkExt as _, StreamExt as _};
use http::Request;
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::call::Call;
use crate::respond::{Answer, Body as HttpBody, full};
use crate::server::Server;

/// Answers a watch in the way that the client asks for.
///
/// # Errors
/// As [`Server::watch`].
pub(crate) async fn watch(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
) -> Result<Answer, Status> {
    let form = server.form(call)?;
    if !is_wanted(call) {
        return server.watch(call, &form).await;
    }
    let body = server.watch_body(call, &form).await?;
    carry(server, call, request, body, Messages::Lines)
}

/// What becomes one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Messages {
    /// Each line, as text.
    Lines,
    /// Each piece as it comes, as bytes.
    Pieces,
}

/// Whether the client asks for a WebSocket.
pub(crate) fn is_wanted(call: &Call) -> bool {
    let upgrade = call.headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// Carries a body to the client in messages of a WebSocket.
///
/// # Errors
/// 400: the handshake is not one.
pub(crate) fn carry(
    server: &Arc<Server>,
    call: &Call,
    mut request: Request<HttpBody>,
    body: HttpBody,
    messages: Messages,
) -> Result<Answer, Status> {
    let Some(key) = call.headers.get(SEC_WEBSOCKET_KEY) else {
        return Err(Status::bad_request("missing Sec-WebSocket-Key"));
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgraded = hyper::upgrade::on(&mut request);
    server.scope.spawn_until_cancelled("body over a WebSocket", async move {
        match upgraded.await {
            Ok(stream) => {
                let role = Role::Server;
                let socket =
                    WebSocketStream::from_raw_socket(TokioIo::new(stream), role, None).await;
                send(socket, body, messages).await;
            }
            Err(error) => tracing::debug!(%error, "a watch was not upgraded"),
        }
    });
    let mut answer = Answer::new(full(""));
    *answer.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    let protocol = call.headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    let chosen = protocol.and_then(|list| {
        list.split(',')
            .map(str::trim)
            .find(|name| matches!(*name, "binary.k8s.io" | "base64.binary.k8s.io"))
    });
    if let Some(chosen) = chosen.and_then(|name| HeaderValue::from_str(name).ok()) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    Ok(answer)
}

async fn send<S>(mut socket: WebSocketStream<S>, mut body: HttpBody, messages: Messages)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        tokio::select! {
            frame = body.frame() => {
                let Some(Ok(frame)) = frame else { break };
                let Ok(chunk) = frame.into_data() else { continue };
                if messages == Messages::Pieces {
                    if socket.send(Message::Binary(chunk)).await.is_err() {
                        return;
                    }
                    continue;
                }
                for line in chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let Ok(text) = std::str::from_utf8(line) else { continue };
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
            }
            incoming = socket.next() => match incoming {
                Some(Ok(Message::Close(_))) | Some(Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
    if let Err(error) = socket.close(None).await {
        tracing::debug!(%error, "a watch's WebSocket was not closed in order");
    }
}
