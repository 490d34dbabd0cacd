//! SPDY/3.1 as clients older than WebSocket speak it, and as newer ones tunnel it for forwarded ports.
//!
//! Only what those clients use: streams that the client opens, data both ways, ping and the end. There is
//! no flow control on either side, as in the clients; every stream has a bounded buffer instead, and a
//! reader and a writer of its own, so that a full buffer holds up only its own direction.

mod frame;
mod headers;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf,
};
use tokio::sync::{mpsc, oneshot};

use crate::limits::{FAREWELL_MAX, SPDY_FRAMES_QUEUED_MAX, SPDY_STREAMS_MAX, STREAM_BUFFER_BYTES};
use frame::{Control, Frame};
use headers::{Deflater, Inflater};

/// A stream that the client has opened.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Its headers, names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// Its data, both ways; shutting down the writing half ends that direction.
    pub(crate) io: DuplexStream,
}

impl Stream {
    /// A header.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// Why a connection ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpdyError {
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
    #[error("the client broke the protocol: {0}")]
    Protocol(&'static str),
}

/// Something for the writer.
enum Outgoing {
    Reply(u32),
    Data { stream: u32, bytes: Bytes, last: bool },
    Ping(u32),
    Reset { stream: u32, code: u32 },
}

/// Starts a connection on `io`; answers the streams that the client opens. The connection ends when the
/// client leaves, or when the receiver and all streams are dropped.
pub(crate) fn serve<I>(scope: &task::Scope, io: I) -> mpsc::Receiver<Stream>
where
    I: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(io);
    let (outgoing, frames) = mpsc::channel(SPDY_FRAMES_QUEUED_MAX);
    let (opened, streams) = mpsc::channel(SPDY_STREAMS_MAX);
    let (writing, written) = oneshot::channel();
    let reader = Reader {
        scope: scope.clone(),
        opened,
        outgoing,
        written,
        inputs: HashMap::new(),
        inflater: Inflater::default(),
    };
    scope.spawn_until_cancelled("SPDY reader", async move {
        if let Err(error) = reader.run(read).await {
            tracing::debug!(%error, "a SPDY connection ended");
        }
    });
    scope.spawn_until_cancelled("SPDY writer", async move {
        if let Err(error) = write_all(write, frames).await {
            tracing::debug!(%error, "a SPDY connection cannot be written to");
        }
        drop(writing);
    });
    streams
}

struct Reader {
    scope: task::Scope,
    opened: mpsc::Sender<Stream>,
    outgoing: mpsc::Sender<Outgoing>,
    /// Resolves when the writer has said all.
    written: oneshot::Receiver<Infallible>,
    /// What the client sends, by stream.
    inputs: HashMap<u32, WriteHalf<DuplexStream>>,
    inflater: Inflater,
}

impl Reader {
    async fn run<I: AsyncRead>(mut self, read: ReadHalf<I>) -> Result<(), SpdyError> {
        let ended = self.read(read).await;
        // Dropping a half is not enough: the other belongs to the pump, which waits for the stream's owner.
        for input in self.inputs.values_mut() {
            let _gone = input.shutdown().await;
        }
        ended
    }

    async fn read<I: AsyncRead>(&mut self, mut read: ReadHalf<I>) -> Result<(), SpdyError> {
        let mut buffer = BytesMut::with_capacity(STREAM_BUFFER_BYTES);
        loop {
            while let Some(frame) = frame::take(&mut buffer)? {
                self.handle(frame).await?;
            }
            tokio::select! {
                got = read.read_buf(&mut buffer) => if got? == 0 {
                    return Ok(());
                },
                // Nobody wants streams any more; what is under way goes on until all is written.
                () = self.opened.closed() => {
                    return self.finish(read, buffer).await;
                }
            }
        }
    }

    /// Reads on for the streams that there are, so that their ends are seen, and until the client closes:
    /// whoever closes with something unread takes back what is on its way.
    async fn finish<I: AsyncRead>(
        &mut self,
        mut read: ReadHalf<I>,
        mut buffer: BytesMut,
    ) -> Result<(), SpdyError> {
        // Streams hold senders of their own; the reader must not keep the writer alive.
        let (closed, never_read) = mpsc::channel(1);
        drop(never_read);
        self.outgoing = closed;
        let (_, unwritten) = oneshot::channel();
        let written = std::mem::replace(&mut self.written, unwritten);
        let reading = async {
            loop {
                while let Some(frame) = frame::take(&mut buffer)? {
                    if let Frame::Data { .. } | Frame::Control(Control::Reset { .. }) = &frame {
                        self.handle(frame).await?;
                    }
                }
                if read.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            }
        };
        let mut reading = std::pin::pin!(reading);
        tokio::select! {
            ended = &mut reading => ended,
            _all_said = written => {
                tokio::time::timeout(FAREWELL_MAX, reading).await.unwrap_or(Ok(()))
            }
        }
    }

    async fn handle(&mut self, frame: Frame) -> Result<(), SpdyError> {
        match frame {
            Frame::Data { stream, bytes, last } => self.input(stream, &bytes, last).await,
            Frame::Control(Control::SynStream { stream, block, last }) => {
                let headers = self.inflater.read(&block)?;
                self.open(stream, headers, last).await?;
            }
            Frame::Control(Control::Headers { block }) => {
                // Read for the sake of the shared compression state.
                self.inflater.read(&block)?;
            }
            Frame::Control(Control::Reset { stream }) => self.input(stream, &[], true).await,
            Frame::Control(Control::Ping { id }) => self.send(Outgoing::Ping(id)).await,
            Frame::Control(Control::GoAway) => return Err(SpdyError::Protocol("it goes away")),
            Frame::Control(Control::Other) => {}
        }
        Ok(())
    }

    async fn send(&self, outgoing: Outgoing) {
        // When the writer is gone the reader notices by itself.
        let _writer_gone = self.outgoing.send(outgoing).await;
    }

    async fn open(
        &mut self,
        stream: u32,
        headers: BTreeMap<String, String>,
        last: bool,
    ) -> Result<(), SpdyError> {
        const REFUSED: u32 = 3;
        if self.inputs.contains_key(&stream) {
            return Err(SpdyError::Protocol("it opened a stream twice"));
        }
        if self.inputs.len() >= SPDY_STREAMS_MAX {
            self.send(Outgoing::Reset { stream, code: REFUSED }).await;
            return Ok(());
        }
        let (near, far) = tokio::io::duplex(STREAM_BUFFER_BYTES);
        let (output, input) = tokio::io::split(far);
        self.send(Outgoing::Reply(stream)).await;
        if self.opened.send(Stream { headers, io: near }).await.is_err() {
            self.send(Outgoing::Reset { stream, code: REFUSED }).await;
            return Ok(());
        }
        let outgoing = self.outgoing.clone();
        self.scope.spawn_until_cancelled("SPDY stream", pump(stream, output, outgoing));
        self.inputs.insert(stream, input);
        if last {
            self.input(stream, &[], true).await;
        }
        Ok(())
    }

    async fn input(&mut self, stream: u32, bytes: &[u8], last: bool) {
        let Some(input) = self.inputs.get_mut(&stream) else { return };
        let written = input.write_all(bytes).await;
        if last || written.is_err() {
            // The stream's owner may have gone before.
            let _gone = input.shutdown().await;
            self.inputs.remove(&stream);
        }
    }
}

/// Sends what the owner of a stream writes.
async fn pump(stream: u32, mut output: ReadHalf<DuplexStream>, outgoing: mpsc::Sender<Outgoing>) {
    let mut buffer = BytesMut::with_capacity(STREAM_BUFFER_BYTES / 4);
    loop {
        buffer.reserve(STREAM_BUFFER_BYTES / 4);
        let read = output.read_buf(&mut buffer).await.unwrap_or(0);
        let bytes = buffer.split().freeze();
        let data = Outgoing::Data { stream, bytes, last: read == 0 };
        if outgoing.send(data).await.is_err() || read == 0 {
            return;
        }
    }
}

async fn write_all<I: AsyncWrite>(
    mut write: WriteHalf<I>,
    mut frames: mpsc::Receiver<Outgoing>,
) -> Result<(), SpdyError> {
    let mut deflater = Deflater::new()?;
    let mut buffer = BytesMut::new();
    while let Some(outgoing) = frames.recv().await {
        buffer.clear();
        match outgoing {
            Outgoing::Reply(stream) => {
                let block = deflater.empty()?;
                frame::put_control(&mut buffer, frame::SYN_REPLY, block.len() + 4);
                buffer.put_u32(stream);
                buffer.extend_from_slice(&block);
            }
            Outgoing::Data { stream, bytes, last } => {
                frame::put_data(&mut buffer, stream, bytes.len(), last);
                buffer.extend_from_slice(&bytes);
            }
            Outgoing::Ping(id) => {
                frame::put_control(&mut buffer, frame::PING, 4);
                buffer.put_u32(id);
            }
            Outgoing::Reset { stream, code } => {
                frame::put_control(&mut buffer, frame::RST_STREAM, 8);
                buffer.put_u32(stream);
                buffer.put_u32(code);
            }
        }
        write.write_all(&buffer).await?;
        write.flush().await?;
    }
    buffer.clear();
    frame::put_control(&mut buffer, frame::GOAWAY, 8);
    buffer.put_u32(0);
    buffer.put_u32(0);
    write.write_all(&buffer).await?;
    write.shutdown().await?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
