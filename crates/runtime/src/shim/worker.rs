//! The short-lived fork in which libcontainer works. Its memory goes with it; the process that it starts is
//! inherited by the shim, its reaper. It says how it went on a socket: a [`Report`], and the terminal.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use linux::process::{Fork, exit_now, fork};
use serde::{Deserialize, Serialize};

use super::executor::ContainerExecutor;
use super::protocol::{ProcessPrivileges, StartContainer, StartExec};
use super::wire::Wire;

/// How a worker fared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// The started process.
    pub(super) pid: i32,
    /// Why there is none.
    pub(super) error: Option<String>,
    /// What could not be done but is no reason to fail.
    pub(super) warnings: Vec<String>,
}

/// A process's three streams; those missing are `/dev/null`.
#[derive(Default)]
pub(super) struct Stdio {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// What a worker does.
pub(super) enum Task<'a> {
    Start(&'a StartContainer),
    Exec(&'a StartExec),
}

impl Task<'_> {
    fn container_id(&self) -> &str {
        match self {
            Self::Start(start) => &start.container_id,
            Self::Exec(exec) => &exec.container_id,
        }
    }

    fn tty(&self) -> bool {
        match self {
            Self::Start(start) => start.tty,
            Self::Exec(exec) => exec.tty,
        }
    }
}

/// Forks a worker; the report arrives on the answered socket.
pub(super) fn spawn(
    oci_root: &Path,
    bundle: &Path,
    task: &Task<'_>,
    stdio: Stdio,
) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    match fork()? {
        Fork::Parent(_) => {
            ours.set_nonblocking(true)?;
            Ok(ours)
        }
        Fork::Child => {
            drop(ours);
            let done = Work { oci_root, bundle, task }.run(stdio);
            exit_now(i32::from(send(&theirs, done).is_err()))
        }
    }
}

fn send(socket: &UnixStream, done: Result<(Report, Option<OwnedFd>), String>) -> io::Result<()> {
    let (report, terminal) =
        done.unwrap_or_else(|error| (Report { error: Some(error), ..Report::default() }, None));
    let mut wire = Wire::default();
    wire.push(&report, terminal.into_iter().collect()).map_err(io::Error::other)?;
    wire.send(socket)
}

struct Work<'a> {
    oci_root: &'a Path,
    bundle: &'a Path,
    task: &'a Task<'a>,
}

impl Work<'_> {
    fn run(&self, stdio: Stdio) -> Result<(Report, Option<OwnedFd>), String> {
        let mut report = Report::default();
        if let Task::Start(start) = self.task
            && let Some(value) = start.oom_score_adj
            && let Err(error) = fs::write("/proc/self/oom_score_adj", value.to_string())
        {
            report.warnings.push(format!("set oom_score_adj to {value}: {error}"));
        }
        let console = match self.task.tty() {
            true => Some(Console::listen(self.oci_root).map_err(|e| format!("terminal: {e}"))?),
            false => None,
        };
        let (errors, reporter) = io::pipe().map_err(|error| error.to_string())?;
        let executor = self.executor(reporter.as_raw_fd()).map_err(|e| e.to_string())?;
        let builder = self.builder(executor, stdio, console.as_ref())?;
        report.pid = match self.task {
            Task::Start(_) => self.start(builder)?,
            Task::Exec(exec) => self.exec(builder, exec)?,
        };
        drop(reporter);
        let mut text = String::new();
        let read = { errors }.read_to_string(&mut text);
        if let Err(error) = read {
            text = error.to_string();
        }
        if !text.is_empty() {
            return Err(text);
        }
        let terminal = console.map(Console::accept).transpose();
        Ok((report, terminal.map_err(|error| format!("terminal: {error}"))?))
    }

    fn executor(&self, report: i32) -> io::Result<ContainerExecutor> {
        let bytes = fs::read(self.bundle.join("privileges.json"))?;
        let privileges: ProcessPrivileges = serde_json::from_slice(&bytes)?;
        ContainerExecutor::new(&privileges, report)
    }

    fn builder(
        &self,
        executor: ContainerExecutor,
        stdio: Stdio,
        console: Option<&Console>,
    ) -> Result<ContainerBuilder, String> {
        let id = self.task.container_id().to_owned();
        let mut builder = ContainerBuilder::new(id, SyscallType::default())
            .with_executor(executor)
            .with_root_path(self.oci_root)
            .map_err(|error| chain(&error))?
            .with_console_socket(console.map(|console| console.path.clone()));
        if console.is_none() {
            let or_null = |stream: Option<OwnedFd>| match stream {
                Some(stream) => Ok(stream),
                None => {
                    let null = fs::File::options().read(true).write(true).open("/dev/null");
                    null.map(OwnedFd::from).map_err(|error| error.to_string())
                }
            };
            builder = builder
                .with_stdin(or_null(stdio.stdin)?)
                .with_stdout(or_null(stdio.stdout)?)
                .with_stderr(or_null(stdio.stderr)?);
        }
        Ok(builder)
    }

    fn start(&self, builder: ContainerBuilder) -> Result<i32, String> {
        let init = builder.as_init(self.bundle).with_systemd(false).with_detach(true);
        let mut container: Container = init.build().map_err(|error| chain(&error))?;
        container.start().map_err(|error| chain(&error))?;
        container.pid().map(nix_pid).ok_or_else(|| "the container has no process".to_owned())
    }

    fn exec(&self, builder: ContainerBuilder, exec: &StartExec) -> Result<i32, String> {
        let process = self.oci_root.join(format!("process-{}.json", std::process::id()));
        fs::write(&process, &exec.process).map_err(|error| error.to_string())?;
        let built = builder
            .as_tenant()
            .with_detach(true)
            .with_process(Some(&process))
            .build()
            .map_err(|error| chain(&error));
        let removed = fs::remove_file(&process).map_err(|error| error.to_string());
        let pid = built?;
        removed?;
        Ok(nix_pid(pid))
    }
}

/// libcontainer uses another version of the crate that the type is from.
fn nix_pid(pid: impl Into<i32>) -> i32 {
    pid.into()
}

/// Where libcontainer sends the terminal that it makes inside the container.
struct Console {
    path: PathBuf,
    listener: UnixListener,
}

impl Console {
    fn listen(directory: &Path) -> io::Result<Self> {
        let path = directory.join(format!("tty-{}", std::process::id()));
        Ok(Self { listener: UnixListener::bind(&path)?, path })
    }

    /// The connection is waiting: the container runs, and it connected before that.
    fn accept(self) -> io::Result<OwnedFd> {
        self.listener.set_nonblocking(true)?;
        let (connection, _) = self.listener.accept()?;
        receive_descriptor(&connection)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if fs::remove_file(&self.path).is_err() {
            // The directory is emptied with the sandbox.
        }
    }
}

fn receive_descriptor(connection: &UnixStream) -> io::Result<OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0; 64];
    let slices = &mut [io::IoSliceMut::new(&mut buffer)];
    recvmsg(connection, slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptor.ok_or_else(|| io::Error::other("no terminal was sent"))
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    cri::error::chain(error)
}
