//! Forwarded ports over WebSocket: in channels, or as SPDY that is tunnelled.

use bytes::Bytes;
use cri::BoxWrite;
use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::io::ReaderStream;

use super::protocol::{self, Agreed, Framing, agree};
use super::{Socket, send_all, socket};
use crate::Kubelet;
use crate::limits::{STREAM_BUFFER_BYTES, STREAM_IDLE_MAX};
use crate::server::RequestError;
use crate::server::session::Target;

/// Ports that one request may name: each takes two of the 256 channels.
const PORTS_MAX: usize = 100;

/// Goes on to WebSocket and forwards ports: two channels for each, data and error, each opened by the
/// port's number.
pub(in crate::server) fn forward(
    kubelet: &Kubelet,
    mut request: Request<Incoming>,
    target: Target,
    ports: Vec<u16>,
) -> Result<Response<()>, RequestError> {
    let Agreed { response, protocol, upgrade } = agree(&mut request, protocol::FORWARD)?;
    if protocol == protocol::TUNNEL {
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
        pump(socket, Framing::of(protocol), writers, outputs).await;
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

async fn pump(
    socket: Socket,
    framing: Framing,
    mut writers: Vec<Option<BoxWrite>>,
    outputs: SelectAll<BoxStream<'static, Bytes>>,
) {
    let (sink, mut source) = socket.split();
    let incoming = async {
        while let Ok(Some(Ok(message))) = tokio::time::timeout(STREAM_IDLE_MAX, source.next()).await
        {
            let Some(message) = framing.content(message) else { continue };
            let Some((channel, content)) = message.split_first() else { continue };
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
        _ended = send_all(sink, framing, outputs) => {}
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
            _ended = send_all(sink, Framing::Binary, outputs) => {}
            () = crate::server::upgrade::forward_streams(&kubelet, target, far) => {}
        }
    });
    response
}
