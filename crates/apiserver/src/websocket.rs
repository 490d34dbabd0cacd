//! Watches and logs over a WebSocket, for clients that upgrade instead of reading a stream.

use std::sync::Arc;

use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
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
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::call::Call;
use crate::limits::WEBSOCKET_INCOMING_BYTES_MAX;
use crate::respond::{Answer, Body as HttpBody, Streaming, full};
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
    /// Each piece as it comes, as text in base64.
    Encoded,
}

impl Messages {
    /// The messages for a client that has agreed on a protocol.
    fn under(self, protocol: Option<&str>) -> Self {
        match (self, protocol) {
            (Self::Pieces, Some(BASE64)) => Self::Encoded,
            _ => self,
        }
    }

    /// The messages of a piece of the body.
    fn of(self, piece: Bytes) -> Vec<Message> {
        match self {
            Self::Lines => {
                let lines = piece.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                lines.filter_map(|line| std::str::from_utf8(line).ok().map(Message::text)).collect()
            }
            Self::Pieces => vec![Message::Binary(piece)],
            Self::Encoded => vec![Message::text(STANDARD.encode(&piece))],
        }
    }
}

const BASE64: &str = "base64.binary.k8s.io";
const PROTOCOLS: [&str; 2] = ["binary.k8s.io", BASE64];

/// What the client and this server agree on; nothing, where the client names no protocol.
///
/// # Errors
/// 403: a log is wanted under unknown protocols only.
fn agree(offered: Option<&str>, messages: Messages) -> Result<Option<&'static str>, Status> {
    let Some(offered) = offered.filter(|it| !it.is_empty()) else { return Ok(None) };
    let known = |name: &str| PROTOCOLS.into_iter().find(|it| *it == name.trim());
    let chosen = offered.split(',').find_map(known);
    // Watches do not care for protocols.
    if chosen.is_none() && messages == Messages::Pieces {
        let text = format!("requested protocol(s) are not supported: {offered}");
        return Err(Status::failure(403, "Forbidden", text));
    }
    Ok(chosen)
}

/// Whether the client asks for a WebSocket.
pub(crate) fn is_wanted(call: &Call) -> bool {
    let upgrade = call.headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// Carries a body to the client in messages of a WebSocket.
///
/// # Errors
/// 400: the handshake is not one. 403: its protocols are unknown.
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
    let offered = call.headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    let protocol = agree(offered, messages)?;
    let messages = messages.under(protocol);
    let upgraded = hyper::upgrade::on(&mut request);
    let (open, streaming) = Streaming::begin();
    server.scope.spawn_until_cancelled("body over a WebSocket", async move {
        match upgraded.await {
            Ok(stream) => {
                send(accept_frames(TokioIo::new(stream)).await, body, messages).await;
            }
            Err(error) => tracing::debug!(%error, "a watch was not upgraded"),
        }
        drop(open);
    });
    let mut answer = Answer::new(full(""));
    *answer.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    answer.extensions_mut().insert(streaming);
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(answer)
}

/// The server's side of a WebSocket. Clients have nothing to say but that they are there, or leave: what they
/// send is held in memory only up to a small bound.
async fn accept_frames<S>(stream: S) -> WebSocketStream<S>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .max_frame_size(Some(WEBSOCKET_INCOMING_BYTES_MAX))
        .max_message_size(Some(WEBSOCKET_INCOMING_BYTES_MAX));
    WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await
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
                for message in messages.of(chunk) {
                    if socket.send(message).await.is_err() {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

    use super::*;

    const LARGEST: usize = WEBSOCKET_INCOMING_BYTES_MAX;
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A message in frames of these lengths.
    fn frames(lengths: &[usize]) -> Vec<Message> {
        let frame = |(index, length): (usize, &usize)| {
            let kind = if index == 0 { Data::Binary } else { Data::Continue };
            let last = index + 1 == lengths.len();
            Message::Frame(Frame::message(vec![0; *length], OpCode::Data(kind), last))
        };
        lengths.iter().enumerate().map(frame).collect()
    }

    #[tokio::test]
    async fn what_clients_send_is_bounded() {
        let many = vec![1024; LARGEST / 1024 + 1];
        let cases: [(&str, Vec<Message>, bool); 8] = [
            ("nothing", vec![], true),
            ("a ping", vec![Message::Ping(Bytes::from_static(b"x"))], true),
            ("a short text", vec![Message::text("hello")], true),
            ("the largest frame", frames(&[LARGEST]), true),
            ("a frame that is too large", frames(&[LARGEST + 1]), false),
            ("frames that make the largest message", frames(&[LARGEST / 2, LARGEST / 2]), true),
            ("frames that make too large a message", frames(&many), false),
            ("a continuation of nothing", frames(&[1, 1])[1..].to_vec(), false),
        ];
        for (what, messages, stays) in cases {
            // So small that the server's end must read what the client's end writes.
            let (ours, theirs) = tokio::io::duplex(1024);
            let (lines, body) = tokio::sync::mpsc::channel::<Result<Bytes, _>>(1);
            let body = crate::respond::stream(tokio_stream::wrappers::ReceiverStream::new(body));
            let serving = tokio::spawn(async move {
                send(accept_frames(ours).await, body, Messages::Lines).await;
            });
            let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
            for message in messages {
                if client.send(message).await.is_err() {
                    break;
                }
            }
            if stays {
                lines.send(Ok(Bytes::from_static(b"line\n"))).await.unwrap();
            }
            let heard = async {
                loop {
                    match client.next().await {
                        Some(Ok(Message::Text(text))) => return text == "line",
                        Some(Ok(Message::Pong(_))) => {}
                        _ => return false,
                    }
                }
            };
            let heard = tokio::time::timeout(PATIENCE, heard).await;
            assert_eq!(heard, Ok(stays), "{what}");
            drop((client, lines));
            serving.await.unwrap();
        }
    }

    #[test]
    fn protocols_of_logs_are_known_ones() {
        let cases = [
            (None, Some(Messages::Pieces), None),
            (Some(""), Some(Messages::Pieces), None),
            (Some("binary.k8s.io"), Some(Messages::Pieces), Some("binary.k8s.io")),
            (Some(BASE64), Some(Messages::Encoded), Some(BASE64)),
            (Some("other, base64.binary.k8s.io"), Some(Messages::Encoded), Some(BASE64)),
            (Some("channel.k8s.io"), None, None),
        ];
        for (offered, messages, protocol) in cases {
            let agreed = agree(offered, Messages::Pieces);
            let got = agreed.as_ref().ok().map(|chosen| Messages::Pieces.under(*chosen));
            assert_eq!(got, messages, "{offered:?}");
            match agreed {
                Ok(chosen) => assert_eq!(chosen, protocol, "{offered:?}"),
                Err(status) => assert_eq!(status.code, 403, "{offered:?}"),
            }
            let watch = agree(offered, Messages::Lines).map(|it| Messages::Lines.under(it));
            assert_eq!(watch.ok(), Some(Messages::Lines), "{offered:?}");
        }
    }

    /// What a client hears of a body of two pieces under a protocol.
    async fn heard(protocol: Option<&str>) -> Vec<Message> {
        let (ours, theirs) = tokio::io::duplex(1024);
        let pieces = ["a\nb\n", "\u{e4}"].map(|it| Ok(Bytes::from_static(it.as_bytes())));
        let body = crate::respond::stream(futures::stream::iter(pieces));
        let messages = Messages::Pieces.under(agree(protocol, Messages::Pieces).unwrap());
        let serving = tokio::spawn(async move {
            send(accept_frames(ours).await, body, messages).await;
        });
        let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let messages = client.filter_map(|it| async { it.ok().filter(|it| !it.is_close()) });
        let messages = messages.collect().await;
        serving.await.unwrap();
        messages
    }

    #[tokio::test]
    async fn logs_in_base64_are_text() {
        let text = ["YQpiCg==", "w6Q="].map(Message::text);
        assert_eq!(heard(Some("base64.binary.k8s.io")).await, text);
        let bytes =
            ["a\nb\n", "\u{e4}"].map(|it| Message::Binary(Bytes::from_static(it.as_bytes())));
        assert_eq!(heard(Some("binary.k8s.io")).await, bytes);
        assert_eq!(heard(None).await, bytes);
    }
}
