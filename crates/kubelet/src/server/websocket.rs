//! Sessions over WebSocket: every message begins with the number of its channel.

mod forward;
mod protocol;

use std::convert::Infallible;

use bytes::Bytes;
use cri::{BoxRead, BoxWrite};
use futures::stream::{BoxStream, SelectAll, SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_util::io::ReaderStream;

use super::RequestError;
use super::session::{ClientStreams, Session, StreamOptions};
use crate::Kubelet;
use crate::limits::{
    FAREWELL_MAX, INPUT_LINGER_MAX, STREAM_BUFFER_BYTES, STREAM_IDLE_MAX,
    WEBSOCKET_MESSAGE_BYTES_MAX,
};
pub(super) use forward::forward;
use protocol::{Agreed, Ending, Framing, agree};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5: the next byte names a channel that the client has closed.
const CLOSE: u8 = 255;

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Whether the client asks for a WebSocket.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    let has = |name, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|it| it.to_str().ok())
            .any(|it| it.split(',').any(|part| part.trim().eq_ignore_ascii_case(wanted)))
    };
    has(UPGRADE, "websocket") && has(CONNECTION, "upgrade")
}

async fn socket(upgrade: hyper::upgrade::OnUpgrade) -> Option<Socket> {
    let upgraded = match upgrade.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => {
            tracing::debug!(%error, "a client did not go on to WebSocket");
            return None;
        }
    };
    Some(server_side(upgraded).await)
}

async fn server_side<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    let config = WebSocketConfig::default().max_message_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// One side of a channel that the session writes to; the other side goes to the client.
fn output(channel: u8, outputs: &mut SelectAll<BoxStream<'static, Bytes>>) -> BoxWrite {
    let (near, far) = tokio::io::duplex(STREAM_BUFFER_BYTES);
    let framed = ReaderStream::new(far).filter_map(move |piece| async move {
        let piece = piece.ok()?;
        let mut message = Vec::with_capacity(piece.len() + 1);
        message.push(channel);
        message.extend_from_slice(&piece);
        Some(Bytes::from(message))
    });
    outputs.push(framed.boxed());
    Box::pin(near)
}

/// The channel that tells how a session ended.
fn error_output(ending: Ending, outputs: &mut SelectAll<BoxStream<'static, Bytes>>) -> BoxWrite {
    let (near, mut far) = tokio::io::duplex(STREAM_BUFFER_BYTES);
    let told = async move {
        let mut status = Vec::new();
        // What arrived before the other side broke off is all there is.
        let _broken = far.read_to_end(&mut status).await;
        let told = ending.tell(status).filter(|told| !told.is_empty())?;
        Some(Bytes::from([&[ERROR], told.as_slice()].concat()))
    };
    outputs.push(futures::stream::once(told).filter_map(|it| async { it }).boxed());
    Box::pin(near)
}

/// Goes on to WebSocket and joins the client with a session.
pub(super) fn join(
    kubelet: &Kubelet,
    mut request: Request<Incoming>,
    session: Session,
    options: StreamOptions,
) -> Result<Response<()>, RequestError> {
    let Agreed { response, protocol, upgrade } = agree(&mut request, protocol::COMMAND)?;
    kubelet.shared.scope.spawn_until_cancelled("WebSocket session", async move {
        let Some(socket) = socket(upgrade).await else { return };
        let (client, inputs, outputs) = channels(protocol, &options);
        let (leaving, left) = oneshot::channel::<Infallible>();
        let pump = async {
            pump(socket, Framing::of(protocol), inputs, outputs).await;
            drop(leaving);
        };
        let left = async {
            let _left = left.await;
        };
        tokio::join!(pump, session.join(client, left));
    });
    Ok(response)
}

/// The session's ends of the channels, and the client's.
fn channels(
    protocol: &str,
    options: &StreamOptions,
) -> (ClientStreams, Inputs, SelectAll<BoxStream<'static, Bytes>>) {
    let mut outputs = SelectAll::new();
    let (stdin_far, stdin) = tokio::io::duplex(STREAM_BUFFER_BYTES);
    let (resize_far, resize) = tokio::io::duplex(4096);
    let client = ClientStreams {
        stdin: options.stdin.then(|| -> BoxRead { Box::pin(stdin) }),
        stdout: options.stdout.then(|| output(STDOUT, &mut outputs)),
        stderr: (options.stderr && !options.tty).then(|| output(STDERR, &mut outputs)),
        error: error_output(Ending::of(protocol), &mut outputs),
        resize: Some(Box::pin(resize)),
    };
    let closes = protocol::closes_channels(protocol);
    let inputs = Inputs { stdin: Some(stdin_far), resize: resize_far, closes };
    (client, inputs, outputs)
}

/// Where the client's channels lead. Dropping it ends them; what is on its way still arrives.
struct Inputs {
    stdin: Option<DuplexStream>,
    resize: DuplexStream,
    closes: bool,
}

impl Inputs {
    /// Takes a message of the client.
    async fn take(&mut self, message: &[u8]) {
        let Some((channel, content)) = message.split_first() else { return };
        match *channel {
            STDIN => {
                if let Some(stdin) = &mut self.stdin
                    && stdin.write_all(content).await.is_err()
                {
                    self.stdin = None;
                }
            }
            RESIZE => {
                let mut line = content.to_vec();
                line.push(b'\n');
                // Without a terminal nobody listens.
                let _ignored = self.resize.write_all(&line).await;
            }
            CLOSE if self.closes && content.first() == Some(&STDIN) => self.stdin = None,
            _ => {}
        }
    }
}

/// Clients take any other way of closing for a broken session.
fn farewell() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// Carries messages both ways until the client leaves or all output is sent. The directions do not wait
/// for each other: a process that does not read must still be able to write.
async fn pump<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
    framing: Framing,
    inputs: Inputs,
    outputs: SelectAll<BoxStream<'static, Bytes>>,
) {
    let (sink, source) = socket.split();
    let mut incoming = std::pin::pin!(receive(source, framing, inputs));
    let patience = tokio::select! {
        () = &mut incoming => return,
        sent = send_all(sink, framing, outputs) => match sent {
            // Whoever closes with something unread takes back what is on its way: the client closes first.
            Sent::All => FAREWELL_MAX,
            // It has left, but what it said before may not have been read.
            Sent::Unheard => INPUT_LINGER_MAX,
        },
    };
    let _in_time = tokio::time::timeout(patience, incoming).await;
}

/// Takes the client's messages until it leaves.
async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    mut source: SplitStream<WebSocketStream<S>>,
    framing: Framing,
    mut inputs: Inputs,
) {
    loop {
        match tokio::time::timeout(STREAM_IDLE_MAX, source.next()).await {
            Ok(Some(Ok(Message::Close(_)))) => {
                // The answer to it is sent by reading on.
                let _in_time = tokio::time::timeout(FAREWELL_MAX, source.next()).await;
                return;
            }
            Ok(Some(Ok(message))) => {
                if let Some(message) = framing.content(message) {
                    inputs.take(&message).await;
                }
            }
            Ok(Some(Err(_)) | None) | Err(_) => return,
        }
    }
}

/// Takes what a client sends on `io` until it leaves, without a process behind: for the fuzzer.
pub(super) async fn take_all<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> u64 {
    let (stdin_far, mut stdin) = tokio::io::duplex(STREAM_BUFFER_BYTES);
    let (resize_far, mut resize) = tokio::io::duplex(4096);
    let inputs = Inputs { stdin: Some(stdin_far), resize: resize_far, closes: true };
    let mut outputs = SelectAll::new();
    outputs.push(futures::stream::pending().boxed());
    let pump = pump(server_side(io).await, Framing::Binary, inputs, outputs);
    let (mut typed, mut sizes) = (tokio::io::sink(), tokio::io::sink());
    let typed = tokio::io::copy(&mut stdin, &mut typed);
    let sizes = tokio::io::copy(&mut resize, &mut sizes);
    let ((), typed, sizes) = tokio::join!(pump, typed, sizes);
    typed.unwrap_or(0) + sizes.unwrap_or(0)
}

/// How sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// There is nothing more to say.
    All,
    /// The client does not listen any more.
    Unheard,
}

/// Sends every piece of output and says farewell.
async fn send_all<S: AsyncRead + AsyncWrite + Unpin>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    framing: Framing,
    mut outputs: SelectAll<BoxStream<'static, Bytes>>,
) -> Sent {
    while let Some(piece) = outputs.next().await {
        if sink.send(framing.message(piece)).await.is_err() {
            return Sent::Unheard;
        }
    }
    // Whether the client still reads the farewell makes no difference.
    let _gone = sink.send(farewell()).await;
    let _gone = sink.close().await;
    Sent::All
}
