//! A container as its shim sees it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use linux::cgroup::Cgroups;

use super::output::{Log, Stream, StreamName};
use super::protocol::{ContainerState, Exit, StartContainer};
use super::worker::Stdio;

const SIGKILL: i32 = 9;

/// A container that is being started, runs, or has ended and is not forgotten.
pub(super) struct Container {
    pub(super) start: StartContainer,
    pub(super) pid: i32,
    pub(super) started_at: i64,
    pub(super) exit: Option<Exit>,
    pub(super) streams: Vec<Stream>,
    pub(super) log: Option<Log>,
    stdin: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
}

impl Container {
    /// Makes the pipes; answers also the ends that the container gets.
    pub(super) fn prepare(start: StartContainer) -> io::Result<(Self, Stdio)> {
        let log = start.log_path.clone().map(Log::open).transpose()?;
        let mut container = Self {
            start,
            pid: 0,
            started_at: 0,
            exit: None,
            streams: Vec::new(),
            log,
            stdin: None,
            terminal: None,
        };
        let mut stdio = Stdio::default();
        if !container.start.tty {
            let (stdout, theirs) = io::pipe()?;
            stdio.stdout = Some(theirs.into());
            let (stderr, theirs) = io::pipe()?;
            stdio.stderr = Some(theirs.into());
            container.streams = vec![
                Stream::new(StreamName::Stdout, stdout.into())?,
                Stream::new(StreamName::Stderr, stderr.into())?,
            ];
            if container.start.stdin {
                let (theirs, stdin) = io::pipe()?;
                stdio.stdin = Some(theirs.into());
                container.stdin = Some(stdin.into());
            }
        }
        Ok((container, stdio))
    }

    /// Its program runs.
    pub(super) fn started(&mut self, pid: i32, terminal: Option<OwnedFd>) -> io::Result<()> {
        self.pid = pid;
        self.started_at = now();
        if let Some(terminal) = terminal {
            let reader = terminal.try_clone()?;
            self.streams = vec![Stream::new(StreamName::Stdout, reader)?];
            self.terminal = Some(terminal);
        }
        Ok(())
    }

    pub(super) fn is_running(&self) -> bool {
        self.pid != 0 && self.exit.is_none()
    }

    pub(super) fn state(&self) -> ContainerState {
        ContainerState {
            container_id: self.start.container_id.clone(),
            pid: self.pid,
            started_at: self.started_at,
            exit: self.exit.clone(),
        }
    }

    /// The input, for a client that attaches. With `stdin_once` it is given away.
    pub(super) fn take_input(&mut self) -> io::Result<Option<OwnedFd>> {
        if let Some(terminal) = &self.terminal {
            return terminal.try_clone().map(Some);
        }
        if self.start.stdin_once {
            return Ok(self.stdin.take());
        }
        self.stdin.as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// The stream of that name; a terminal has one for both.
    pub(super) fn stream(&mut self, name: StreamName) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.name == name)
    }

    /// Notes the end: what was written before is read, what the process left behind is killed, and the
    /// end is on disk before anybody hears of it.
    pub(super) fn ended(&mut self, exit_code: i32, buffer: &mut [u8]) -> io::Result<Exit> {
        let cgroup = hierarchies().and_then(|found| found.group(&self.start.cgroup).ok());
        let (mut oom_killed, mut killed) = (false, Ok(0));
        if let Some(cgroup) = cgroup {
            oom_killed = cgroup.oom_kills() > 0;
            if !self.start.own_pid_namespace {
                killed = cgroup.kill(SIGKILL);
            }
        }
        for stream in &mut self.streams {
            while stream.read(buffer, &mut self.log) {}
        }
        self.stdin = None;
        self.terminal = None;
        let exit = Exit { exit_code, finished_at: now(), oom_killed };
        self.exit = Some(exit.clone());
        self.write_exit(&exit)?;
        killed?;
        Ok(exit)
    }

    fn write_exit(&self, exit: &Exit) -> io::Result<()> {
        let temporary = self.start.bundle.join(".exit.json");
        fs::write(&temporary, serde_json::to_vec(exit)?)?;
        fs::rename(temporary, self.start.bundle.join("exit.json"))
    }
}

/// The machine's control groups. The zygote asks first, so that its shims find the answer in their memory
/// and need not read the table of mounts, which grows with every pod.
pub(super) fn hierarchies() -> Option<&'static Cgroups> {
    static FOUND: OnceLock<Option<Cgroups>> = OnceLock::new();
    FOUND.get_or_init(|| Cgroups::detect().ok()).as_ref()
}

/// Nanoseconds since 1970.
pub(super) fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
