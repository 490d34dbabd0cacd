//! Streams into containers. CRI answers these calls with a URL at which a second server speaks SPDY or
//! WebSocket; here the caller gets the streams, and whoever faces the client speaks its protocol.

use std::fmt;
use std::pin::Pin;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::Result;

/// Bytes from the container.
pub type BoxRead = Pin<Box<dyn AsyncRead + Send>>;
/// Bytes to the container; shutting it down closes the other end.
pub type BoxWrite = Pin<Box<dyn AsyncWrite + Send>>;
/// Bytes both ways: a forwarded port.
pub type BoxDuplex = Pin<Box<dyn Duplex>>;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// Runs a command in a container and waits for its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSyncRequest {
    /// Container.
    pub container_id: String,
    /// Command and arguments.
    pub cmd: Vec<String>,
    /// Seconds after which the command is killed; 0: never.
    pub timeout: i64,
}

/// What a command wrote and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSyncResponse {
    /// Standard output, at most 16 MiB; the rest is dropped.
    pub stdout: Vec<u8>,
    /// Standard error, at most 16 MiB; the rest is dropped.
    pub stderr: Vec<u8>,
    /// Exit code.
    pub exit_code: i32,
}

/// Runs a command in a container with streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Container.
    pub container_id: String,
    /// Command and arguments.
    pub cmd: Vec<String>,
    /// Whether it gets a terminal (then there is no standard error).
    pub tty: bool,
    /// Whether to stream standard input.
    pub stdin: bool,
    /// Whether to stream standard output.
    pub stdout: bool,
    /// Whether to stream standard error.
    pub stderr: bool,
}

/// Joins the streams of a container's first process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachRequest {
    /// Container.
    pub container_id: String,
    /// Whether it has a terminal; must agree with the container.
    pub tty: bool,
    /// Whether to stream standard input.
    pub stdin: bool,
    /// Whether to stream standard output.
    pub stdout: bool,
    /// Whether to stream standard error.
    pub stderr: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The streams of a command or of a container's first process. Dropping them detaches: the process of an
/// attach goes on, that of an exec is left to notice that its streams are closed.
pub struct Streams {
    /// To standard input, when asked for.
    pub stdin: Option<BoxWrite>,
    /// From standard output (or the terminal), when asked for; ends when the process has closed it.
    pub stdout: Option<BoxRead>,
    /// From standard error, when asked for and without terminal.
    pub stderr: Option<BoxRead>,
    /// Changes the terminal's size; `None` without terminal.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// The exit code; for an attach, that of the container.
    pub exit: BoxFuture<'static, Result<i32>>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .field("resize", &self.resize.is_some())
            .finish_non_exhaustive()
    }
}
