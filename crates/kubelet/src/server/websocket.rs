//! Sessions over WebSocket: every message begins with the number of its channel.

use bytes::Bytes;
use cri::{BoxRead, BoxWrite};
use futures::stream::{BoxStream, SelectAll};
use futures::{SinkExt as _, StreamExt as _};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_util::io::ReaderStream;

use super::RequestError;
use super::session::{ClientStreams, Session, StreamOptions, Target};
use crate::Kubelet;
use crate::limits::{
    FAREWELL_MAX, STREAM_BUFFER_BYTES, STREAM_IDLE_MAX, WEBSOCKET_MESSAGE_BYTES_MAX,
};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5: the next byte names a channel that the client has closed.
const CLOSE: u8 = 255;

/// The first version, which tools without client libraries still ask for, tells the end of a session as
/// text, and only where it failed.
const FIRST: &str = "channel.k8s.io";
const PROTOCOLS: [&str; 3] = ["v5.channel.k8s.io", "v4.channel.k8s.io", FIRST];
/// SPDY within WebSocket.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const FORWARD_PROTOCOLS: [&str; 2] = [TUNNEL, "v4.channel.k8s.io"];

/// Ports that one request may name: each takes two of the 256 channels.
const PORTS_MAX: usize = 100;

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

/// The response that agrees, and the socket to come.
fn agree(
    request: &mut Request<Incoming>,
    supported: &[&'static str],
) -> Result<(Response<()>, &'static str, hyper::upgrade::OnUpgrade), RequestError> {
    let headers = request.headers();
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|it| it.to_str().ok());
    let offered: Vec<&str> = offered.flat_map(|it| it.split(',').map(str::trim)).collect();
    let chosen = supported.iter().find(|it| offered.contains(*it)).copied();
    let chosen = chosen.ok_or_else(|| {
        RequestError::bad(format!("unable to upgrade: no supported subprotocol among {offered:?}"))
    })?;
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .ok_or_else(|| RequestError::bad("unable to upgrade: missing Sec-WebSocket-Key header"))?;
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
        .header(SEC_WEBSOCKET_PROTOCOL, chosen)
        .body(())
        .map_err(|error| RequestError::bad(error.to_string()))?;
    Ok((response, chosen, hyper::upgrade::on(request)))
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

/// The channel that tells how a session ended: a status, or for the first version a text on failure.
fn error_output(protocol: &str, outputs: &mut SelectAll<BoxStream<'static, Bytes>>) -> BoxWrite {
    if protocol != FIRST {
        return output(ERROR, outputs);
    }
    let (near, far) = tokio::io::duplex(STREAM_BUFFER_BYTES);
    let failure = async move {
        let mut text = Vec::new();
        let mut far = far;
        // What arrived before the other side broke off is all there is.
        let _broken = far.read_to_end(&mut text).await;
        let status: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let failed = status["status"] == "Failure";
        let message = status["message"].as_str().filter(|_| failed)?;
        Some(Bytes::from([&[ERROR], message.as_bytes()].concat()))
    };
    outputs.push(futures::stream::once(failure).filter_map(|it| async { it }).boxed());
    Box::pin(near)
}

/// Goes on to WebSocket and joins the client with a session.
pub(super) fn join(
    kubelet: &Kubelet,
    mut request: Request<Incoming>,
    session: Session,
    options: StreamOptions,
) -> Result<Response<()>, RequestError> {
    let (response, protocol, upgrade) = agree(&mut request, &PROTOCOLS)?;
    let closes = protocol.starts_with("v5");
    kubelet.shared.scope.spawn_until_cancelled("WebSocket session", async move {
        let Some(socket) = socket(upgrade).await else { return };
        let mut outputs = SelectAll::new();
        let (stdin_far, stdin): (DuplexStream, DuplexStream) =
            tokio::io::duplex(STREAM_BUFFER_BYTES);
        let (resize_far, resize) = tokio::io::duplex(4096);
        let client = ClientStreams {
            stdin: options.stdin.then(|| -> BoxRead { Box::pin(stdin) }),
            stdout: options.stdout.then(|| output(STDOUT, &mut outputs)),
            stderr: (options.stderr && !options.tty).then(|| output(STDERR, &mut outputs)),
            error: error_output(protocol, &mut outputs),
            resize: Some(Box::pin(resize)),
        };
        let inputs = Inputs { stdin: Some(stdin_far), resize: resize_far, closes };
        let pump = pump(socket, inputs, outputs);
        let mut pump = std::pin::pin!(pump);
        tokio::select! {
            // A client that is gone ends the session.
            () = &mut pump => {}
            () = session.join(client) => pump.await,
        }
    });
    Ok(response)
}

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
    mut inputs: Inputs,
    outputs: SelectAll<BoxStream<'static, Bytes>>,
) {
    let (sink, mut source) = socket.split();
    let incoming = async {
        loop {
            match tokio::time::timeout(STREAM_IDLE_MAX, source.next()).await {
                Ok(Some(Ok(Message::Binary(bytes)))) => inputs.take(&bytes).await,
                Ok(Some(Ok(Message::Text(text)))) => inputs.take(text.as_bytes()).await,
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) | Err(_) => return,
                Ok(Some(Ok(_))) => {}
            }
        }
    };
    let mut incoming = std::pin::pin!(incoming);
    tokio::select! {
        () = &mut incoming => {}
        () = send_all(sink, outputs) => {
            // Whoever closes with something unread takes back what is on its way: the client closes first.
            let _in_time = tokio::time::timeout(FAREWELL_MAX, incoming).await;
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
    let pump = pump(server_side(io).await, inputs, outputs);
    let (mut typed, mut sizes) = (tokio::io::sink(), tokio::io::sink());
    let typed = tokio::io::copy(&mut stdin, &mut typed);
    let sizes = tokio::io::copy(&mut resize, &mut sizes);
    let ((), typed, sizes) = tokio::join!(pump, typed, sizes);
    typed.unwrap_or(0) + sizes.unwrap_or(0)
}

/// Sends every piece of output and says farewell.
async fn send_all<S: AsyncRead + AsyncWrite + Unpin>(
    mut sink: futures::stream::SplitSink<WebSocketStream<S>, Message>,
    mut outputs: SelectAll<BoxStream<'static, Bytes>>,
) {
    while let Some(piece) = outputs.next().await {
        if sink.send(Message::Binary(piece)).await.is_err() {
            return;
        }
    }
    // Whether the client still reads the farewell makes no difference.
    let _gone = sink.send(farewell()).await;
    let _gone = sink.close().await;
}

/// Goes on to WebSocket and forwards ports: two channels for each, data and error, each opened by the
/// port's number.
pub(super) fn forward(
    kubelet: &Kubelet,
    mut request: Request<Incoming>,
    target: Target,
    ports: Vec<u16>,
) -> Result<Response<()>, RequestError> {
    let (response, protocol, upgrade) = agree(&mut request, &FORWARD_PROTOCOLS)?;
    if protocol == TUNNEL {
        return Ok(tunnel(kubelet, response, upgrade, target));
    }
    if ports.is_empty() || ports.len() > PORTS_MAX {
        return Err(RequestError::bad("query parameter \"port\" is required"));
    }
    let kubelet = kubelet.clone();
    let scope = kubelet.shared.scope.clone();
    scope.spawn_until_cancelled("WebSocket port forward", async move {
        let Some(socket) = socket(upgrade).await else { return };
        let mut outputs: SelectAll<BoxStream<'static, Bytes>> = SelectAll::new();
        let mut writers: Vec<Option<BoxWrite>> = Vec::new();
        for (at, port) in ports.iter().enumerate() {
            let data = u8::try_from(at * 2).unwrap_or(u8::MAX);
            let number = port.to_le_bytes();
            for channel in [data, data + 1] {
                let greeting = Bytes::from(vec![channel, number[0], number[1]]);
                outputs.push(futures::stream::iter([greeting]).boxed());
            }
            writers.push(open_port(&kubelet, &target, *port, data, &mut outputs).await);
        }
        forward_pump(socket, writers, outputs).await;
    });
    Ok(response)
}

async fn open_port(
    kubelet: &Kubelet,
    target: &Target,
    port: u16,
    data: u8,
    outputs: &mut SelectAll<BoxStream<'static, Bytes>>,
) -> Option<BoxWrite> {
    match kubelet.port_forward(target, port).await {
        Ok(connected) => {
            let (read, write) = tokio::io::split(connected);
            let framed = ReaderStream::new(read).filter_map(move |piece| async move {
                let mut message = vec![data];
                message.extend_from_slice(&piece.ok()?);
                Some(Bytes::from(message))
            });
            outputs.push(framed.boxed());
            Some(Box::pin(write))
        }
        Err(error) => {
            let mut message = vec![data + 1];
            let text = format!("error forwarding port {port} to pod {}: {error}", target.pod);
            message.extend_from_slice(text.as_bytes());
            outputs.push(futures::stream::iter([Bytes::from(message)]).boxed());
            None
        }
    }
}

async fn forward_pump(
    socket: Socket,
    mut writers: Vec<Option<BoxWrite>>,
    outputs: SelectAll<BoxStream<'static, Bytes>>,
) {
    let (sink, mut source) = socket.split();
    let incoming = async {
        while let Ok(Some(Ok(message))) = tokio::time::timeout(STREAM_IDLE_MAX, source.next()).await
        {
            let Message::Binary(bytes) = message else { continue };
            let Some((channel, content)) = bytes.split_first() else { continue };
            let slot = writers.get_mut(usize::from(*channel / 2));
            if let Some(Some(writer)) = slot
                && channel % 2 == 0
                && writer.write_all(content).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        () = incoming => {}
        () = send_all(sink, outputs) => {}
    }
}

/// Goes on to WebSocket and speaks SPDY through it: how newer clients forward ports.
fn tunnel(
    kubelet: &Kubelet,
    response: Response<()>,
    upgrade: hyper::upgrade::OnUpgrade,
    target: Target,
) -> Response<()> {
    let kubelet = kubelet.clone();
    let scope = kubelet.shared.scope.clone();
    scope.spawn_until_cancelled("tunnelled port forward", async move {
        let Some(socket) = socket(upgrade).await else { return };
        let (near, far) = tokio::io::duplex(STREAM_BUFFER_BYTES);
        let (read, mut write) = tokio::io::split(near);
        let mut outputs: SelectAll<BoxStream<'static, Bytes>> = SelectAll::new();
        outputs.push(ReaderStream::new(read).filter_map(|piece| async { piece.ok() }).boxed());
        let (sink, mut source) = socket.split();
        let incoming = async {
            while let Ok(Some(Ok(message))) =
                tokio::time::timeout(STREAM_IDLE_MAX, source.next()).await
            {
                if let Message::Binary(bytes) = message
                    && write.write_all(&bytes).await.is_err()
                {
                    return;
                }
            }
        };
        tokio::select! {
            () = incoming => {}
            () = send_all(sink, outputs) => {}
            () = super::upgrade::forward_streams(&kubelet, target, far) => {}
        }
    });
    response
}
