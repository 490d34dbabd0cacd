//! The process that shims are forked from. The program is executed once for all shims of a server: they
//! share its pages, relocations included, and start in the time of a fork. When the server goes, so does
//! the zygote; the shims stay.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use linux::process::{Fork, exit_now, fork};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::WaitOptions;
use serde::{Deserialize, Serialize};

use super::wire::Wire;

/// Asks for a shim. Two descriptors come along: the socket to listen on, and where errors are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnShim {
    /// The shim's configuration.
    pub config: PathBuf,
}

/// The process id of the shim, or why there is none.
pub type Spawned = Result<i32, String>;

/// Serves on standard input until the server closes its end.
pub(super) fn run() -> Result<(), String> {
    serve().map_err(|error| format!("zygote: {error}"))
}

fn serve() -> io::Result<()> {
    rustix::process::setsid()?;
    let socket = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    let null: OwnedFd = File::open("/dev/null")?.into();
    rustix::stdio::dup2_stdin(&null)?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block()?;
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    super::container::hierarchies();
    // What the start of the program needed, no shim does. Where it cannot be told what that is, it stays.
    let _stays = linux::memory::release_program();
    let mut zygote = Zygote { socket, signals, wire: Wire::default() };
    loop {
        zygote.wait()?;
        zygote.reap();
        if !zygote.answer()? {
            return Ok(());
        }
    }
}

struct Zygote {
    socket: UnixStream,
    signals: SignalFd,
    wire: Wire,
}

impl Zygote {
    fn wait(&self) -> io::Result<()> {
        let mut fds =
            [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        Ok(())
    }

    fn reap(&self) {
        while matches!(self.signals.read_signal(), Ok(Some(_))) {}
        while matches!(rustix::process::wait(WaitOptions::NOHANG), Ok(Some(_))) {}
    }

    /// `false` when the server is gone.
    fn answer(&mut self) -> io::Result<bool> {
        let open = match self.wire.receive(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            received => received?,
        };
        while let Some((spawn, descriptors)) = self.wire.next_message().map_err(io::Error::other)? {
            let spawned: Spawned = self.spawn(&spawn, descriptors).map_err(|e| e.to_string());
            self.wire.push(&spawned, Vec::new()).map_err(io::Error::other)?;
            self.wire.send(&self.socket)?;
        }
        Ok(open)
    }

    fn spawn(&mut self, spawn: &SpawnShim, descriptors: Vec<OwnedFd>) -> io::Result<i32> {
        let mut descriptors = descriptors.into_iter();
        let (Some(listener), Some(log)) = (descriptors.next(), descriptors.next()) else {
            return Err(io::Error::other("descriptors are missing"));
        };
        match fork()? {
            Fork::Parent(pid) => Ok(pid.as_raw_nonzero().get()),
            Fork::Child => {
                // The server's end of this socket must not stay open in a shim.
                let done = self.become_shim(spawn, &listener, &log);
                exit_now(i32::from(done.is_err()))
            }
        }
    }

    fn become_shim(
        &mut self,
        spawn: &SpawnShim,
        listener: &OwnedFd,
        log: &OwnedFd,
    ) -> io::Result<()> {
        rustix::stdio::dup2_stdin(listener)?;
        rustix::stdio::dup2_stderr(log)?;
        let null: OwnedFd = File::options().read(true).write(true).open("/dev/null")?.into();
        let (left, _) = UnixStream::pair()?;
        self.socket = left;
        self.signals = SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_CLOEXEC)?;
        rustix::stdio::dup2_stdout(null.as_fd())?;
        super::main(&[spawn.config.clone().into_os_string()])
    }
}
