//! Reading a container's log: from where the caller wants it, and on as it grows.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cri::{ContainerEventType, ContainerState, EventStream, RuntimeService};
use futures::StreamExt as _;
use jiff::Timestamp;
use rustix::fs::inotify;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::format::{self, Stream};
use crate::limits::{LOG_CHUNK_BYTES, LOG_LINE_BYTES_MAX};

/// What of a log is wanted.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Whether to go on as the log grows, until the container ends.
    pub follow: bool,
    /// Only this many lines from the end.
    pub tail_lines: Option<usize>,
    /// Only lines written at or after this time.
    pub since: Option<Timestamp>,
    /// Whether each line begins with its time.
    pub timestamps: bool,
    /// At most this many bytes.
    pub limit_bytes: Option<u64>,
    /// The container before the present one.
    pub previous: bool,
    /// `Stdout`, `Stderr`, or both.
    pub stream: Option<LogStream>,
}

/// One of a container's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    fn admits(self, stream: Stream) -> bool {
        matches!((self, stream), (Self::Stdout, Stream::Stdout) | (Self::Stderr, Stream::Stderr))
    }
}

/// A log to read.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) container_id: String,
    pub(crate) runtime: Arc<dyn RuntimeService>,
}

/// Why reading ended early; never seen by whoever reads, except as the end.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("cannot read the log")]
    File(#[from] std::io::Error),
    #[error("cannot watch the log")]
    Watch(#[source] std::io::Error),
    #[error("the runtime does not answer")]
    Runtime(#[from] cri::Error),
    #[error("nobody reads any more")]
    Closed,
}

/// Sends the wanted part of the log, piece by piece, and ends.
pub(crate) async fn send(source: Source, options: LogOptions, pieces: mpsc::Sender<Bytes>) {
    let closed = pieces.clone();
    let reading = Reader::new(source, options, pieces).run();
    let result = tokio::select! {
        result = reading => result,
        () = closed.closed() => return,
    };
    if let Err(error) = result
        && !matches!(error, ReadError::Closed)
    {
        tracing::debug!(%error, "reading a log ended");
    }
}

struct Reader {
    source: Source,
    options: LogOptions,
    pieces: mpsc::Sender<Bytes>,
    /// The last line, as far as it has been read.
    rest: Vec<u8>,
    /// Whether the line that goes out began before.
    within_line: bool,
    left: u64,
}

impl Reader {
    fn new(source: Source, options: LogOptions, pieces: mpsc::Sender<Bytes>) -> Self {
        let left = options.limit_bytes.unwrap_or(u64::MAX);
        Self { source, options, pieces, rest: Vec::new(), within_line: false, left }
    }

    async fn run(mut self) -> Result<(), ReadError> {
        // Subscribed before the first look, so that no end is missed.
        let mut waiter = match self.options.follow {
            true => Some(Waiter::new(&self.source).await?),
            false => None,
        };
        let mut file = File::open(&self.source.path)?;
        if let Some(lines) = self.options.tail_lines {
            let start = tail_start(&mut file, lines)?;
            file.seek(SeekFrom::Start(start))?;
        }
        loop {
            let ended = match &waiter {
                Some(_) => !self.is_running().await?,
                None => true,
            };
            if !self.drain(&mut file).await? {
                return Ok(());
            }
            if self.was_rotated(&file) {
                file = File::open(&self.source.path)?;
                continue;
            }
            match &mut waiter {
                Some(waiter) if !ended => waiter.wait(&self.source.container_id).await?,
                _ => return Ok(()),
            }
        }
    }

    async fn is_running(&self) -> Result<bool, ReadError> {
        match self.source.runtime.container_status(&self.source.container_id).await {
            Ok(status) => {
                Ok(matches!(status.state, ContainerState::Running | ContainerState::Created))
            }
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn was_rotated(&self, file: &File) -> bool {
        let (Ok(open), Ok(now)) = (file.metadata(), std::fs::metadata(&self.source.path)) else {
            return false;
        };
        open.ino() != now.ino()
    }

    /// Sends everything up to the present end; `false` when the caller has had enough.
    async fn drain(&mut self, file: &mut File) -> Result<bool, ReadError> {
        let mut chunk = vec![0; LOG_CHUNK_BYTES];
        loop {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                return Ok(true);
            }
            let mut out = Vec::with_capacity(read);
            self.take(&chunk[..read], &mut out);
            if !out.is_empty() {
                let most = usize::try_from(self.left).unwrap_or(usize::MAX);
                out.truncate(most);
                self.left -= out.len() as u64;
                self.pieces.send(out.into()).await.map_err(|_| ReadError::Closed)?;
            }
            if self.left == 0 {
                return Ok(false);
            }
        }
    }

    fn take(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") || self.rest.len() >= LOG_LINE_BYTES_MAX {
                let line = std::mem::take(&mut self.rest);
                self.render(&line, out);
                self.rest = line;
                self.rest.clear();
            }
        }
    }

    fn render(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(entry) = format::parse(line) else { return };
        if self.options.stream.is_some_and(|stream| !stream.admits(entry.stream)) {
            return;
        }
        if let Some(since) = self.options.since
            && entry.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return;
        }
        if self.options.timestamps && !self.within_line {
            out.extend_from_slice(entry.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(entry.content);
        if !entry.partial {
            out.push(b'\n');
        }
        self.within_line = entry.partial;
    }
}

/// Where the last `lines` lines begin.
fn tail_start(file: &mut File, lines: usize) -> std::io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(length);
    }
    let (mut end, mut seen) = (length, 0);
    let mut chunk = vec![0; LOG_CHUNK_BYTES];
    while end > 0 {
        let start = end.saturating_sub(LOG_CHUNK_BYTES as u64);
        let size = usize::try_from(end - start).unwrap_or(LOG_CHUNK_BYTES);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut chunk[..size])?;
        for at in (0..size).rev() {
            let position = start + at as u64;
            // The very last line's own end does not count.
            if chunk[at] == b'\n' && position + 1 != length {
                seen += 1;
                if seen == lines {
                    return Ok(position + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

/// Tells when there may be more to read: the file changed, another took its place, or the container
/// ended.
struct Waiter {
    watch: pipe::Receiver,
    events: EventStream,
}

impl Waiter {
    async fn new(source: &Source) -> Result<Self, ReadError> {
        let watching = || -> std::io::Result<pipe::Receiver> {
            let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
            let directory = source.path.parent().unwrap_or_else(|| Path::new("/"));
            let what = inotify::WatchFlags::MODIFY
                | inotify::WatchFlags::CREATE
                | inotify::WatchFlags::MOVED_TO;
            inotify::add_watch(&fd, directory, what)?;
            // Nothing of a pipe is used but that it becomes readable.
            pipe::Receiver::from_owned_fd_unchecked(fd)
        };
        let watch = watching().map_err(ReadError::Watch)?;
        Ok(Self { watch, events: source.runtime.events().await? })
    }

    async fn wait(&mut self, container_id: &str) -> Result<(), ReadError> {
        loop {
            tokio::select! {
                ready = self.watch.readable() => {
                    ready.map_err(ReadError::Watch)?;
                    let mut buffer = [0; 4096];
                    // What exactly happened does not matter.
                    while self.watch.try_read(&mut buffer).is_ok_and(|read| read > 0) {}
                    return Ok(());
                }
                event = self.events.next() => match event {
                    Some(event) if event.container_id == container_id
                        && matches!(
                            event.event_type,
                            ContainerEventType::Stopped | ContainerEventType::Deleted
                        ) => return Ok(()),
                    Some(_) => {}
                    None => return Err(ReadError::Closed),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn line(second: u32, stream: &str, tag: &str, text: &str) -> String {
        format!("2026-01-01T00:00:{second:02}.000000000Z {stream} {tag} {text}\n")
    }

    async fn read(content: &str, options: LogOptions) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let clock = clock::Clock::simulated(Timestamp::UNIX_EPOCH);
        let source = Source {
            path: file.path().to_owned(),
            container_id: "none".into(),
            runtime: Arc::new(crate::testing::runtime::FakeRuntime::new(clock)),
        };
        let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
        let collect = async {
            let mut all = Vec::new();
            while let Some(piece) = receiver.recv().await {
                all.extend_from_slice(&piece);
            }
            String::from_utf8(all).unwrap()
        };
        tokio::join!(send(source, options, sender), collect).1
    }

    #[tokio::test]
    async fn options_choose_what_is_sent() {
        let content = [
            line(1, "stdout", "F", "one"),
            line(2, "stderr", "F", "two"),
            line(3, "stdout", "P", "thr"),
            line(3, "stdout", "F", "ee"),
            line(4, "stdout", "F", ""),
        ]
        .concat();
        let none = LogOptions::default;
        let cases = [
            (none(), "one\ntwo\nthree\n\n"),
            (LogOptions { tail_lines: Some(1), ..none() }, "\n"),
            (LogOptions { tail_lines: Some(0), ..none() }, ""),
            (LogOptions { tail_lines: Some(99), ..none() }, "one\ntwo\nthree\n\n"),
            (LogOptions { limit_bytes: Some(5), ..none() }, "one\nt"),
            (LogOptions { stream: Some(LogStream::Stderr), ..none() }, "two\n"),
            (
                LogOptions { since: Some("2026-01-01T00:00:03Z".parse().unwrap()), ..none() },
                "three\n\n",
            ),
            (
                LogOptions { timestamps: true, tail_lines: Some(3), ..none() },
                "2026-01-01T00:00:03.000000000Z three\n2026-01-01T00:00:04.000000000Z \n",
            ),
        ];
        for (options, expected) in cases {
            assert_eq!(read(&content, options.clone()).await, expected, "{options:?}");
        }
    }
}
