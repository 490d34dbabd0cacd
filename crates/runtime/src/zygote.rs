//! The server's side of the zygote: started when the first sandbox needs it, and again when it has died.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use cri::{Error, Result};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::limits::SHIM_CALL_TIMEOUT;
use crate::shim::ZYGOTE_ARGUMENT;
use crate::shim::wire::Wire;
use crate::shim::zygote::{SpawnShim, Spawned};

/// Makes shims.
#[derive(Debug)]
pub(crate) struct Zygote {
    command: Vec<OsString>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    stream: UnixStream,
    wire: Wire,
    _process: Child,
}

impl Zygote {
    pub(crate) fn new(command: Vec<OsString>) -> Self {
        Self { command, running: Mutex::new(None) }
    }

    /// Starts the process before anybody needs it.
    pub(crate) async fn warm_up(&self) -> Result<()> {
        let mut running = self.running.lock().await;
        if running.is_none() {
            *running = Some(self.start().map_err(|e| Error::internal("start the zygote", &e))?);
        }
        Ok(())
    }

    /// Makes a shim that listens on `socket`; answers its process id.
    pub(crate) async fn spawn(
        &self,
        spawn: &SpawnShim,
        socket: OwnedFd,
        log: OwnedFd,
    ) -> Result<i32> {
        let mut running = self.running.lock().await;
        if let Some(zygote) = running.as_mut() {
            let clones = socket.try_clone().and_then(|socket| Ok((socket, log.try_clone()?)));
            let (socket, log) = clones.map_err(|e| Error::internal("start the shim", &e))?;
            match zygote.ask(spawn, vec![socket, log]).await {
                Ok(spawned) => return spawned.map_err(Error::Internal),
                Err(error) => tracing::warn!(%error, "the zygote is gone; starting another"),
            }
        }
        *running = None;
        let mut zygote = self.start().map_err(|e| Error::internal("start the zygote", &e))?;
        let spawned = zygote.ask(spawn, vec![socket, log]).await;
        let spawned = spawned.map_err(|error| Error::internal("start the shim", &error))?;
        *running = Some(zygote);
        spawned.map_err(Error::Internal)
    }

    fn start(&self) -> io::Result<Running> {
        let (program, arguments) =
            self.command.split_first().ok_or_else(|| io::Error::other("no shim command"))?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let process = Command::new(program)
            .args(arguments)
            .arg(ZYGOTE_ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let stream = UnixStream::from_std(ours)?;
        Ok(Running { stream, wire: Wire::default(), _process: process })
    }
}

impl Running {
    async fn ask(&mut self, spawn: &SpawnShim, descriptors: Vec<OwnedFd>) -> io::Result<Spawned> {
        self.wire.push(spawn, descriptors).map_err(io::Error::other)?;
        let exchange = async {
            while self.wire.wants_to_send() {
                let (stream, wire) = (&self.stream, &mut self.wire);
                stream.async_io(Interest::WRITABLE, || wire.send_now(stream)).await?;
            }
            loop {
                if let Some((spawned, _)) =
                    self.wire.next_message::<Spawned>().map_err(io::Error::other)?
                {
                    return Ok(spawned);
                }
                let (stream, wire) = (&self.stream, &mut self.wire);
                if !stream.async_io(Interest::READABLE, || wire.receive(stream)).await? {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
            }
        };
        let answer = tokio::time::timeout(SHIM_CALL_TIMEOUT, exchange).await;
        answer.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}
