//! Output of a connection, gathered: what many tasks answer at the same time leaves in one piece.
//!
//! HTTP/2 writes every frame as soon as there is one, and the task of the connection runs as soon as one answer is there.
//! Below TLS each of these writes is a record and a call of the kernel, which cost more than most answers. Here a
//! flush first lets the tasks run that are ready to run, so that their answers join it.
//!
//! HTTP/1 has one answer at a time, and whoever takes over its connection (exec, a WebSocket) may write and leave without
//! a flush: there everything passes through.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Writes of at least this many bytes are not copied.
const DIRECT_BYTES_LEAST: usize = 8 << 10;
/// Bytes that are gathered at most.
const GATHERED_BYTES_MAX: usize = 32 << 10;
/// Memory that an idle connection keeps for its next answers.
const KEPT_BYTES_MAX: usize = 1 << 10;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Gathered<S> {
    stream: S,
    /// Whether anything is gathered at all.
    gathers: bool,
    bytes: Vec<u8>,
    /// How many of them have been written.
    written: usize,
    /// Whether others have had their turn since the flush began.
    has_yielded: bool,
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// For a connection that speaks HTTP/2.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, gathers: true, bytes: Vec::new(), written: 0, has_yielded: false }
    }

    /// For any other.
    pub(super) fn passing_through(stream: S) -> Self {
        Self { gathers: false, ..Self::new(stream) }
    }

    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            let rest = &self.bytes[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.written = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let is_direct = !this.gathers || length >= DIRECT_BYTES_LEAST;
        if is_direct || this.bytes.len() + length > GATHERED_BYTES_MAX {
            ready!(this.poll_drain(context))?;
        }
        if is_direct {
            return Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        }
        slices.iter().for_each(|slice| this.bytes.extend_from_slice(slice));
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.bytes.is_empty() && !this.has_yielded {
            this.has_yielded = true;
            // A task that wakes itself goes behind those that are ready.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(this.poll_drain(context))?;
        this.has_yielded = false;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn small_writes_leave_together_and_large_ones_at_once() {
        let (near, mut far) = duplex(1 << 20);
        let mut gathered = Gathered::new(near);
        let mut read = vec![0; 1 << 20];
        gathered.write_all(b"one ").await.unwrap();
        gathered.write_all(b"two").await.unwrap();
        assert!(far.read(&mut read).now_or_never().is_none());
        gathered.flush().await.unwrap();
        assert_eq!(far.read(&mut read).await.unwrap(), 7);
        let mut passing = Gathered::passing_through(gathered.stream);
        passing.write_all(b"at once").await.unwrap();
        assert_eq!(far.read(&mut read).await.unwrap(), 7);
        let mut gathered = Gathered::new(passing.stream);
        gathered.write_all(b"three").await.unwrap();
        gathered.write_all(&vec![b'x'; DIRECT_BYTES_LEAST]).await.unwrap();
        assert_eq!(far.read(&mut read).await.unwrap(), 5 + DIRECT_BYTES_LEAST);
        assert_eq!(&read[..6], b"threex");
    }

    #[tokio::test]
    async fn nothing_is_lost_in_a_stream_that_takes_little_at_a_time() {
        let (near, mut far) = duplex(100);
        let sent: Vec<u8> = (0..200_000u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            let mut gathered = Gathered::new(near);
            for piece in sent.chunks(3001) {
                gathered.write_all(piece).await.unwrap();
            }
            gathered.shutdown().await.unwrap();
        });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        writing.await.unwrap();
        assert!(read == expected);
    }
}
