//! Running commands in containers, attaching to them, and connecting to their ports.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cri::*;
use futures::FutureExt;
use oci_spec::runtime::Spec;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

use super::container::spec_error;
use super::terminal::Terminal;
use super::{Container, Runtime, blocking, call_error, new_id};
use crate::client::ShimClient;
use crate::limits::{
    EXEC_DRAIN_TIMEOUT, EXEC_SYNC_BYTES_MAX, PORT_FORWARD_TIMEOUT, SHIM_CALL_TIMEOUT, START_TIMEOUT,
};
use crate::shim::protocol::{Attach, Call, StartExec};

/// Changes of a terminal's size that may wait.
const RESIZES_MAX: usize = 8;

/// Our ends of a process's streams, and the ends that go to the shim.
#[derive(Default)]
struct Pipes {
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    theirs: Vec<OwnedFd>,
}

impl Pipes {
    fn make(stdin: bool, stdout: bool, stderr: bool) -> std::io::Result<Self> {
        let mut pipes = Self::default();
        if stdin {
            let (sender, receiver) = pipe::pipe()?;
            pipes.stdin = Some(sender);
            pipes.theirs.push(receiver.into_blocking_fd()?);
        }
        for (wanted, place) in [(stdout, &mut pipes.stdout), (stderr, &mut pipes.stderr)] {
            if wanted {
                let (sender, receiver) = pipe::pipe()?;
                *place = Some(receiver);
                pipes.theirs.push(sender.into_blocking_fd()?);
            }
        }
        Ok(pipes)
    }
}

/// A running command.
struct Running {
    exec_id: String,
    shim: ShimClient,
    pipes: Pipes,
    terminal: Option<Terminal>,
    exit: oneshot::Receiver<i32>,
}

fn io_error(context: &str) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| Error::internal(context, &error)
}

impl Runtime {
    async fn running_container(&self, id: &str) -> Result<(Arc<Container>, ShimClient)> {
        let container = self.container(id)?;
        let record = container.record();
        if record.state() != ContainerState::Running {
            let state = match record.state() {
                ContainerState::Created => "CONTAINER_CREATED",
                ContainerState::Exited => "CONTAINER_EXITED",
                _ => "CONTAINER_UNKNOWN",
            };
            return Err(Error::FailedPrecondition(format!(
                "failed to exec in container: container is in {state} state"
            )));
        }
        let shim = self.sandbox(&record.sandbox_id)?.shim()?;
        Ok((container, shim))
    }

    async fn start_exec(&self, request: &ExecRequest) -> Result<Running> {
        let (container, shim) = self.running_container(&request.container_id).await?;
        let id = container.record().id;
        let config = self.inner.paths.container(&id).join("config.json");
        let (cmd, tty) = (request.cmd.clone(), request.tty);
        let process = blocking(move || {
            let spec = Spec::load(config).map_err(|e| Error::internal("load config", &e))?;
            let process =
                crate::spec::exec_process(&spec, &cmd, tty).map_err(|e| spec_error(&e))?;
            serde_json::to_string(&process).map_err(|e| Error::internal("process", &e))
        })
        .await?;
        let streams = !tty;
        let pipes = Pipes::make(
            streams && request.stdin,
            streams && request.stdout,
            streams && request.stderr,
        );
        let mut pipes = pipes.map_err(io_error("make pipes"))?;
        let exec = StartExec {
            exec_id: new_id(),
            container_id: id,
            process,
            tty,
            stdin: pipes.stdin.is_some(),
            stdout: pipes.stdout.is_some(),
            stderr: pipes.stderr.is_some(),
        };
        let exec_id = exec.exec_id.clone();
        let exit = shim.expect_exec(&exec_id);
        let theirs = std::mem::take(&mut pipes.theirs);
        let called = shim.call_with(Call::Exec(exec), theirs, START_TIMEOUT).await;
        let (_, descriptors) = called.map_err(|error| {
            shim.forget_exec(&exec_id);
            let context = "failed to exec in container: failed to start exec: OCI runtime exec \
                           failed: exec failed: unable to start container process";
            call_error(context, &error)
        })?;
        let terminal = descriptors.into_iter().next().filter(|_| tty).map(Terminal::new);
        let terminal = terminal.transpose().map_err(io_error("open terminal"))?;
        Ok(Running { exec_id, shim, pipes, terminal, exit })
    }

    pub(super) async fn run_and_wait(&self, request: &ExecSyncRequest) -> Result<ExecSyncResponse> {
        let exec = ExecRequest {
            container_id: request.container_id.clone(),
            cmd: request.cmd.clone(),
            stdout: true,
            stderr: true,
            ..ExecRequest::default()
        };
        let seconds = u64::try_from(request.timeout).unwrap_or(0);
        let patience = (seconds > 0).then(|| Duration::from_secs(seconds));
        let running = self.start_exec(&exec).await?;
        let Running { exec_id, shim, pipes, exit, .. } = running;
        let (stdout, stderr) = (collect(pipes.stdout), collect(pipes.stderr));
        let output = self.inner.scope.child();
        let (stdout, stderr) = (spawn(&output, stdout), spawn(&output, stderr));
        let ended = match patience {
            Some(patience) => tokio::time::timeout(patience, exit).await,
            None => Ok(exit.await),
        };
        let Ok(code) = ended else {
            output.cancel();
            if let Err(error) = shim.call(Call::KillExec { exec_id }).await {
                tracing::warn!(%error, "cannot kill a command that took too long");
            }
            return Err(Error::DeadlineExceeded(format!(
                "failed to exec in container: timeout {seconds}s exceeded: context deadline exceeded"
            )));
        };
        let exit_code = code.map_err(|_| Error::Unavailable("the shim is gone".to_owned()))?;
        // A child of the command may keep the pipes open for ever.
        let drained = tokio::time::timeout(EXEC_DRAIN_TIMEOUT, async {
            (stdout.await.unwrap_or_default(), stderr.await.unwrap_or_default())
        });
        let (stdout, stderr) = drained.await.unwrap_or_default();
        output.cancel();
        Ok(ExecSyncResponse { stdout, stderr, exit_code })
    }

    pub(super) async fn run_with_streams(&self, request: &ExecRequest) -> Result<Streams> {
        if !request.stdin && !request.stdout && !request.stderr {
            return Err(Error::InvalidArgument(
                "one of stdin, stdout, or stderr must be set".to_owned(),
            ));
        }
        if request.tty && request.stderr {
            return Err(Error::InvalidArgument("tty and stderr cannot both be true".to_owned()));
        }
        let running = self.start_exec(request).await?;
        let shim = running.shim;
        let exit = running.exit;
        let exit = async move {
            // The connection is kept as long as the answer is awaited.
            let _shim = shim;
            exit.await.map_err(|_| Error::Unavailable("the shim is gone".to_owned()))
        };
        let Some(terminal) = running.terminal else {
            return Ok(Streams {
                stdin: running.pipes.stdin.map(|pipe| Box::pin(pipe) as BoxWrite),
                stdout: running.pipes.stdout.map(|pipe| Box::pin(pipe) as BoxRead),
                stderr: running.pipes.stderr.map(|pipe| Box::pin(pipe) as BoxRead),
                resize: None,
                exit: exit.boxed(),
            });
        };
        let failed = io_error("open terminal");
        let resize = self.resizer(terminal.try_clone().map_err(&failed)?);
        let stdin = match request.stdin {
            true => Some(Box::pin(terminal.try_clone().map_err(&failed)?) as BoxWrite),
            false => None,
        };
        let stdout = request.stdout.then(|| Box::pin(terminal) as BoxRead);
        Ok(Streams { stdin, stdout, stderr: None, resize: Some(resize), exit: exit.boxed() })
    }

    /// Ends when the sender is dropped.
    fn resizer(&self, terminal: Terminal) -> mpsc::Sender<TerminalSize> {
        let (sender, mut sizes) = mpsc::channel(RESIZES_MAX);
        self.inner.scope.spawn_until_cancelled("terminal size", async move {
            while let Some(size) = sizes.recv().await {
                if let Err(error) = terminal.resize(size) {
                    tracing::debug!(%error, "cannot change the size of a terminal");
                }
            }
        });
        sender
    }

    pub(super) async fn join_streams(&self, request: &AttachRequest) -> Result<Streams> {
        let (container, shim) = self.running_container(&request.container_id).await?;
        let record = container.record();
        if record.config.tty != request.tty {
            return Err(Error::InvalidArgument(format!(
                "tty is {}, but the container has {}",
                request.tty, record.config.tty
            )));
        }
        let stderr = request.stderr && !request.tty;
        let pipes = Pipes::make(false, request.stdout, stderr).map_err(io_error("make pipes"))?;
        let attach = Attach {
            container_id: record.id.clone(),
            stdin: request.stdin || request.tty,
            stdout: request.stdout,
            stderr,
        };
        let call = shim.call_with(Call::Attach(attach), pipes.theirs, SHIM_CALL_TIMEOUT);
        let (_, descriptors) =
            call.await.map_err(|error| call_error("failed to attach to container", &error))?;
        let mut exited = container.exited.subscribe();
        let exit = async move {
            let exit = exited.wait_for(Option::is_some).await;
            let exit = exit.map_err(|_| Error::Unavailable("the runtime is ending".to_owned()))?;
            Ok(exit.as_ref().map_or(0, |exit| exit.exit_code))
        };
        let mut streams = Streams {
            stdin: None,
            stdout: pipes.stdout.map(|pipe| Box::pin(pipe) as BoxRead),
            stderr: pipes.stderr.map(|pipe| Box::pin(pipe) as BoxRead),
            resize: None,
            exit: exit.boxed(),
        };
        if let Some(input) = descriptors.into_iter().next() {
            self.give_input(&mut streams, input, request)?;
        }
        Ok(streams)
    }

    fn give_input(
        &self,
        streams: &mut Streams,
        input: OwnedFd,
        request: &AttachRequest,
    ) -> Result<()> {
        if !request.tty {
            let pipe = pipe::Sender::from_owned_fd(input).map_err(io_error("open stdin"))?;
            streams.stdin = Some(Box::pin(pipe));
            return Ok(());
        }
        let terminal = Terminal::new(input).map_err(io_error("open terminal"))?;
        let resize = terminal.try_clone().map_err(io_error("open terminal"))?;
        streams.resize = Some(self.resizer(resize));
        streams.stdin = request.stdin.then(|| Box::pin(terminal) as BoxWrite);
        Ok(())
    }

    pub(super) async fn connect_port(&self, sandbox_id: &str, port: u16) -> Result<BoxDuplex> {
        let sandbox = self.sandbox(sandbox_id)?;
        let shim = sandbox.shim()?;
        let call = shim.call_with(Call::Connect { port }, Vec::new(), PORT_FORWARD_TIMEOUT);
        let (_, descriptors) = call.await.map_err(|error| {
            let context = format!("failed to forward port {port} to sandbox {sandbox_id:?}");
            call_error(&context, &error)
        })?;
        let socket = descriptors
            .into_iter()
            .next()
            .ok_or_else(|| Error::Internal("the shim sent no connection".to_owned()))?;
        let stream = tokio::net::TcpStream::from_std(std::net::TcpStream::from(socket))
            .map_err(io_error("open connection"))?;
        Ok(Box::pin(stream))
    }
}

/// Everything up to the bound; the rest is read and dropped, so that the command can go on.
async fn collect(pipe: Option<pipe::Receiver>) -> Vec<u8> {
    let Some(mut pipe) = pipe else { return Vec::new() };
    let mut bytes = Vec::new();
    let bound = u64::try_from(EXEC_SYNC_BYTES_MAX).unwrap_or(u64::MAX);
    if let Err(error) = (&mut pipe).take(bound).read_to_end(&mut bytes).await {
        tracing::debug!(%error, "cannot read the output of a command");
    }
    if let Err(error) = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await {
        tracing::debug!(%error, "cannot read the output of a command");
    }
    bytes
}

/// Collects in the background; what arrived is lost when the scope is cancelled first.
fn spawn(
    scope: &task::Scope,
    collect: impl Future<Output = Vec<u8>> + Send + 'static,
) -> oneshot::Receiver<Vec<u8>> {
    let (sender, receiver) = oneshot::channel();
    scope.spawn_until_cancelled("command output", async move {
        if sender.send(collect.await).is_err() {
            tracing::debug!("nobody waits for the output of a command");
        }
    });
    receiver
}
