//! Output of a connection, gathered: what many tasks answer at the same time leaves in one piece.
//!
//! HTTP/2 writes every frame as soon as there is one, flushes after each that is not tiny, and its task runs as soon as
//! one answer is there. Below TLS each of these writes is a record and a call of the kernel, which cost more than most
//! answers. Here a flush is only noted. [`drive`] runs the connection, and as long as every turn of it brings more lets
//! the tasks run first that are ready to run, so that their answers join; then all leaves.
//!
//! HTTP/1 has one answer at a time, and whoever takes over its connection (exec, a WebSocket) may write and leave without
//! a flush: there everything passes through.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Writes of at least this many bytes are not copied.
const DIRECT_BYTES_LEAST: usize = 8 << 10;
/// Bytes that are gathered at most.
const GATHERED_BYTES_MAX: usize = 32 << 10;
/// Bytes that are worth a write: nobody else is waited for then, and the other side has something to do.
const WORTHWHILE_BYTES: usize = 8 << 10;
/// Turns of a connection for which its first answer waits at most.
const TURNS_MAX: u32 = 16;

/// The stream of a connection, which HTTP writes to while [`drive`] decides when that leaves.
#[derive(Debug)]
pub(super) struct Gathered<S>(Arc<Mutex<Output<S>>>);

#[derive(Debug)]
struct Output<S> {
    stream: S,
    /// Whether anything is gathered at all.
    gathers: bool,
    bytes: Vec<u8>,
    /// How many of them have been written.
    written: usize,
    /// How many there were after the turn before.
    seen: usize,
    /// Turns since the first of them came.
    turns: u32,
    /// How many left together the last time: room for as many is made at once.
    usual: usize,
    /// Why writing failed when nobody was there to be told.
    failure: Option<io::Error>,
}

impl<S> Gathered<S> {
    /// For a connection that speaks HTTP/2.
    pub(super) fn new(stream: S) -> Self {
        Self::with(stream, true)
    }

    /// For any other.
    pub(super) fn passing_through(stream: S) -> Self {
        Self::with(stream, false)
    }

    fn with(stream: S, gathers: bool) -> Self {
        let (bytes, written, seen, turns, usual) = (Vec::new(), 0, 0, 0, 0);
        let output = Output { stream, gathers, bytes, written, seen, turns, usual, failure: None };
        Self(Arc::new(Mutex::new(output)))
    }

    /// What [`drive`] needs of it.
    pub(super) fn handle(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Runs a connection that writes to `output`, to its end and until all it wrote has left.
pub(super) async fn drive<S, F>(connection: F, output: Gathered<S>) -> F::Output
where
    S: AsyncWrite + Unpin,
    F: Future,
{
    let mut connection = pin!(connection);
    let ended = poll_fn(|context| {
        let polled = connection.as_mut().poll(context);
        if polled.is_pending() {
            output.0.lock().turn(context);
        }
        polled
    })
    .await;
    // The connection is over either way, and its own error says more.
    let _too_late = poll_fn(|context| output.0.lock().poll_drain(context)).await;
    ended
}

impl<S: AsyncWrite + Unpin> Output<S> {
    /// After a turn of the connection: lets others have theirs if it brought something, else writes.
    fn turn(&mut self, context: &mut Context<'_>) {
        if self.bytes.is_empty() {
            return;
        }
        let has_grown = self.bytes.len() > self.seen;
        let is_little = self.bytes.len() < WORTHWHILE_BYTES && self.written == 0;
        if has_grown && is_little && self.turns < TURNS_MAX {
            self.seen = self.bytes.len();
            self.turns += 1;
            // A task that wakes itself goes behind those that are ready.
            context.waker().wake_by_ref();
            return;
        }
        let left = match self.poll_drain(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_flush(context),
            undone => undone,
        };
        if let Poll::Ready(Err(error)) = left {
            self.fail(error, context);
        }
    }

    /// Keeps an error for the connection and runs it once more to be told.
    fn fail(&mut self, error: io::Error, context: &mut Context<'_>) {
        self.bytes = Vec::new();
        self.written = 0;
        self.failure = Some(error);
        context.waker().wake_by_ref();
    }

    fn take_failure(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.written < self.bytes.len() {
            let rest = &self.bytes[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        // An idle connection keeps no memory for its next answers.
        self.usual = std::mem::take(&mut self.bytes).len();
        (self.written, self.seen, self.turns) = (0, 0, 0);
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.take_failure()?;
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let is_direct = !self.gathers || length >= DIRECT_BYTES_LEAST;
        if is_direct || self.bytes.len() + length > GATHERED_BYTES_MAX {
            ready!(self.poll_drain(context))?;
        }
        if is_direct {
            return Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        }
        if self.bytes.is_empty() {
            self.bytes.reserve(self.usual.max(length));
        }
        slices.iter().for_each(|slice| self.bytes.extend_from_slice(slice));
        Poll::Ready(Ok(length))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.take_failure()?;
        if !self.bytes.is_empty() {
            // After this turn, or a later one.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.take_failure()?;
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut output = self.0.lock();
        if let Some(failure) = output.failure.take() {
            return Poll::Ready(Err(failure));
        }
        Pin::new(&mut output.stream).poll_read(context, buffer)
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
        let mut read = vec![0; 1 << 20];
        let mut gathered = Gathered::new(near);
        let output = gathered.handle();
        let connection = async {
            for words in ["one ", "two "] {
                gathered.write_all(words.as_bytes()).await.unwrap();
                gathered.flush().await.unwrap();
                assert!(far.read(&mut read).now_or_never().is_none(), "{words}");
                tokio::task::yield_now().await;
            }
            gathered.write_all(b"three").await.unwrap();
            // Nothing more comes: it leaves.
            assert_eq!(far.read(&mut read).await.unwrap(), 13);
            gathered.write_all(b"four").await.unwrap();
            gathered.write_all(&vec![b'x'; DIRECT_BYTES_LEAST]).await.unwrap();
            assert_eq!(far.read(&mut read).await.unwrap(), 4 + DIRECT_BYTES_LEAST);
            gathered.write_all(b"five").await.unwrap();
        };
        drive(connection, output).await;
        assert_eq!(far.read(&mut read).await.unwrap(), 4);
        assert_eq!(&read[..4], b"five");
    }

    #[tokio::test]
    async fn the_first_answer_does_not_wait_for_ever() {
        let (near, mut far) = duplex(1 << 20);
        let mut gathered = Gathered::new(near);
        let output = gathered.handle();
        let endless = async {
            loop {
                gathered.write_all(b"x").await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let mut read = [0; 100];
        let driven = drive(endless, output);
        let count = tokio::select! {
            count = far.read(&mut read) => count.unwrap(),
            () = driven => unreachable!(),
        };
        assert!(count <= TURNS_MAX as usize + 1, "{count}");
    }

    #[tokio::test]
    async fn what_passes_through_needs_no_driver() {
        let (near, mut far) = duplex(1 << 20);
        let mut passing = Gathered::passing_through(near);
        passing.write_all(b"at once").await.unwrap();
        assert_eq!(far.read(&mut [0; 100]).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_connection_is_told_that_the_other_side_has_gone() {
        let (near, far) = duplex(100);
        let mut gathered = Gathered::new(near);
        let output = gathered.handle();
        drop(far);
        let connection = async {
            gathered.write_all(b"lost").await.unwrap();
            loop {
                if let Err(error) = gathered.flush().await {
                    return error.kind();
                }
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(drive(connection, output).await, io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn nothing_is_lost_in_a_stream_that_takes_little_at_a_time() {
        let (near, mut far) = duplex(100);
        let sent: Vec<u8> = (0..200_000u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            let mut gathered = Gathered::new(near);
            let output = gathered.handle();
            let connection = async move {
                for piece in sent.chunks(3001) {
                    gathered.write_all(piece).await.unwrap();
                    gathered.flush().await.unwrap();
                }
                gathered.shutdown().await.unwrap();
            };
            drive(connection, output).await;
        });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        writing.await.unwrap();
        assert!(read == expected);
    }
}
