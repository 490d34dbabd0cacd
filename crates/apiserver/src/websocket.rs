//! Watch over HTTP streaming or, for clients that upgrade, over a WebSocket with one event per message.

use std::sync::Arc;

use api::status::Status;
use futures::{SinkExt as _, StreamExt as _};
use http::Request;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
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
    mut request: Request<HttpBody>,
) -> Result<Answer, Status> {
    let form = server.form(call)?;
    let upgrade = call.headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    if !upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return server.watch(call, &form).await;
    }
    let Some(key) = call.headers.get(SEC_WEBSOCKET_KEY) else {
        return Err(Status::bad_request("missing Sec-WebSocket-Key"));
    };
    let accept = derive_accept_key(key.as_bytes());
    let body = server.watch_body(call, &form).await?;
    let upgraded = hyper::upgrade::on(&mut request);
    server.scope.spawn_until_cancelled("watch over a WebSocket", async move {
        match upgraded.await {
            Ok(stream) => {
                let role = Role::Server;
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), role, None).await;
                send(socket, body).await;
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
        list.split(',').map(str::trim).find(|name| matches!(*name, "binary.k8s.io" | "base64.binary.k8s.io"))
    });
    if let Some(chosen) = chosen.and_then(|name| HeaderValue::from_str(name).ok()) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    Ok(answer)
}

async fn send<S>(mut socket: WebSocketStream<S>, mut body: HttpBody)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        tokio::select! {
            frame = body.frame() => {
                let Some(Ok(frame)) = frame else { break };
                let Ok(chunk) = frame.into_data() else { continue };
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
