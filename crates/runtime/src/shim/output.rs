//! A container's output on its way into the log (in the kubelet's format) and to attached clients.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::limits::{ATTACHED_MAX, LOG_LINE_BYTES_MAX};

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamName {
    Stdout,
    Stderr,
}

impl StreamName {
    fn text(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The log of a container.
pub(super) struct Log {
    path: PathBuf,
    file: Option<File>,
}

impl Log {
    /// Opens the log, making its directory when it is missing.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut log = Self { path, file: None };
        log.reopen()?;
        Ok(log)
    }

    /// Writes to a new file at the same path from now on.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = File::options().append(true).create(true).mode(0o640).open(&self.path)?;
        self.file = Some(file);
        Ok(())
    }

    /// Writes one line. A full disk loses lines, as with every other runtime, but never stops a container.
    fn write(&mut self, stream: StreamName, tag: char, text: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let mut line = Vec::with_capacity(text.len() + 48);
        let time = jiff::Timestamp::now();
        let head = write!(line, "{time:.9} {} {tag} ", stream.text());
        line.extend_from_slice(text);
        line.push(b'\n');
        if head.and_then(|()| file.write_all(&line)).is_err() {
            // The next line may fit again.
        }
    }
}

/// Cuts a stream into lines for the log.
#[derive(Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Takes more of the stream.
    pub(super) fn take(&mut self, bytes: &[u8], mut write: impl FnMut(char, &[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = LOG_LINE_BYTES_MAX - self.begun.len();
            let (piece, ended) = match rest.iter().take(room + 1).position(|byte| *byte == b'\n') {
                Some(end) => (&rest[..end], true),
                None => (&rest[..rest.len().min(room)], false),
            };
            self.begun.extend_from_slice(piece);
            rest = &rest[piece.len() + usize::from(ended)..];
            if ended {
                write('F', &self.begun);
                self.begun.clear();
            } else if self.begun.len() == LOG_LINE_BYTES_MAX {
                write('P', &self.begun);
                self.begun.clear();
            }
        }
        if self.begun.is_empty() {
            self.begun = Vec::new();
        }
    }

    /// The stream has ended: a rest without a line break is a partial line, so that readers add none.
    pub(super) fn end(&mut self, mut write: impl FnMut(char, &[u8])) {
        if !self.begun.is_empty() {
            write('P', &self.begun);
            self.begun = Vec::new();
        }
    }
}

/// A client that reads along. What it does not take at once waits, and as long as something waits the
/// container's stream is not read.
pub(super) struct Attached {
    pub(super) pipe: OwnedFd,
    waiting: Vec<u8>,
}

/// One stream of a container.
pub(super) struct Stream {
    pub(super) name: StreamName,
    /// The end to read from; `None` when the container has closed the other.
    pub(super) source: Option<OwnedFd>,
    lines: Lines,
    pub(super) attached: Vec<Attached>,
}

impl Stream {
    pub(super) fn new(name: StreamName, source: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&source, true)?;
        Ok(Self { name, source: Some(source), lines: Lines::default(), attached: Vec::new() })
    }

    /// Adds a client; `false` when there are too many.
    pub(super) fn attach(&mut self, pipe: OwnedFd) -> io::Result<bool> {
        if self.attached.len() >= ATTACHED_MAX {
            return Ok(false);
        }
        rustix::io::ioctl_fionbio(&pipe, true)?;
        self.attached.push(Attached { pipe, waiting: Vec::new() });
        Ok(true)
    }

    /// Whether the container's output may be read now.
    pub(super) fn may_read(&self) -> bool {
        self.source.is_some() && self.attached.iter().all(|client| client.waiting.is_empty())
    }

    /// Whether the client at `index` has something to take.
    pub(super) fn is_waiting(&self, index: usize) -> bool {
        self.attached.get(index).is_some_and(|client| !client.waiting.is_empty())
    }

    /// Reads once; `true` when there may be more.
    pub(super) fn read(&mut self, buffer: &mut [u8], log: &mut Option<Log>) -> bool {
        let Some(source) = &self.source else { return false };
        let count = match rustix::io::retry_on_intr(|| rustix::io::read(source, &mut *buffer)) {
            Ok(count) => count,
            Err(rustix::io::Errno::AGAIN) => return false,
            // A terminal whose last process is gone answers EIO.
            Err(_) => 0,
        };
        if count == 0 {
            self.end(log);
            return false;
        }
        let bytes = &buffer[..count];
        let name = self.name;
        self.lines.take(bytes, |tag, text| {
            if let Some(log) = log {
                log.write(name, tag, text);
            }
        });
        for client in &mut self.attached {
            client.waiting.extend_from_slice(bytes);
        }
        self.feed();
        true
    }

    /// Forgets clients that have closed their end.
    pub(super) fn drop_gone(&mut self) {
        self.attached.retain(|client| {
            let mut fds = [PollFd::new(&client.pipe, PollFlags::empty())];
            let polled = rustix::event::poll(&mut fds, Some(&Timespec::default()));
            polled.is_ok() && !fds[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
        });
    }

    /// Gives the clients what waits for them.
    pub(super) fn feed(&mut self) {
        self.attached.retain_mut(|client| {
            while !client.waiting.is_empty() {
                match rustix::io::write(&client.pipe, &client.waiting) {
                    Ok(count) => {
                        client.waiting.drain(..count);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => return true,
                    Err(_) => return false,
                }
            }
            client.waiting = Vec::new();
            true
        });
        if self.source.is_none() {
            self.attached.retain(|client| !client.waiting.is_empty());
        }
    }

    fn end(&mut self, log: &mut Option<Log>) {
        let name = self.name;
        self.source = None;
        self.lines.end(|tag, text| {
            if let Some(log) = log {
                log.write(name, tag, text);
            }
        });
        self.feed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<(char, Vec<u8>)> {
        let mut lines = Lines::default();
        let mut written = Vec::new();
        for piece in pieces {
            lines.take(piece, |tag, text| written.push((tag, text.to_vec())));
        }
        lines.end(|tag, text| written.push((tag, text.to_vec())));
        written
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        assert_eq!(
            cut(&[b"a\nb", b"c\n\n", b"rest"]),
            [('F', b"a".to_vec()), ('F', b"bc".to_vec()), ('F', vec![]), ('P', b"rest".to_vec())]
        );
        assert_eq!(cut(&[b""]), []);
    }

    #[test]
    fn a_long_line_is_written_in_parts() {
        let long = vec![b'x'; LOG_LINE_BYTES_MAX + 3];
        let lines = cut(&[&long, b"\n"]);
        let shape: Vec<_> = lines.iter().map(|(tag, text)| (*tag, text.len())).collect();
        assert_eq!(shape, [('P', LOG_LINE_BYTES_MAX), ('F', 3)]);
        let exact = [vec![b'y'; LOG_LINE_BYTES_MAX], b"\n".to_vec()].concat();
        let shape: Vec<_> = cut(&[&exact]).iter().map(|(tag, text)| (*tag, text.len())).collect();
        assert_eq!(shape, [('F', LOG_LINE_BYTES_MAX)]);
    }

    #[test]
    fn a_slow_client_stops_the_reading_and_a_gone_one_does_not() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut stream = Stream::new(StreamName::Stdout, reader.into()).unwrap();
        let (client, pipe) = io::pipe().unwrap();
        assert!(stream.attach(pipe.into()).unwrap());
        let mut buffer = vec![0; 64 << 10];
        while stream.may_read() {
            writer.write_all(&[b'z'; 4096]).unwrap();
            assert!(stream.read(&mut buffer, &mut None));
        }
        assert!(stream.is_waiting(0));
        drop(client);
        stream.feed();
        assert!(stream.may_read() && stream.attached.is_empty());
    }
}
