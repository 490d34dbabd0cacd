//! The loop of a shim: one `poll`, then whatever is ready. Nothing in it waits for anything else.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions};

use super::ShimConfig;
use super::container::Container;
use super::output::StreamName;
use super::pause::Pause;
use super::protocol::*;
use super::setup::Ready;
use super::wire::Wire;
use super::worker::{self, Report, Stdio, Task};
use crate::limits::{SHIM_CONNECTIONS_MAX, SHIM_CONTAINERS_MAX, SHIM_EXECS_MAX};

const SIGKILL: i32 = 9;
/// The exit code of a container whose end nobody could see.
const EXIT_UNKNOWN: i32 = 255;
const BUFFER_BYTES: usize = 16 << 10;

pub(super) struct Server {
    config: ShimConfig,
    listener: UnixListener,
    signals: SignalFd,
    pause: Option<Pause>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    containers: BTreeMap<String, Container>,
    /// Running commands by process id.
    execs: HashMap<i32, String>,
    workers: Vec<Worker>,
    /// Processes that ended while a worker had not yet said what they are.
    unclaimed: HashMap<i32, i32>,
    ending: bool,
}

struct Connection {
    socket: UnixStream,
    wire: Wire,
}

/// A worker that has not reported yet.
struct Worker {
    socket: UnixStream,
    wire: Wire,
    connection: u64,
    request: u64,
    subject: Subject,
}

#[derive(Clone)]
enum Subject {
    Container(String),
    Exec(String),
}

/// What a ready descriptor belongs to.
#[derive(Clone)]
enum Token {
    Listener,
    Signals,
    Connection(u64),
    Worker(usize),
    Output(String, usize),
    Attached(String, usize),
}

/// What a call leads to: an answer now, or later by a worker.
type Outcome = Result<Option<(Answer, Vec<OwnedFd>)>, Failure>;

fn failure(message: impl ToString) -> Failure {
    Failure { not_found: false, message: message.to_string() }
}

impl Server {
    pub(super) fn new(config: ShimConfig, ready: Ready) -> Self {
        Self {
            config,
            listener: ready.listener,
            signals: ready.signals,
            pause: ready.pause,
            connections: BTreeMap::new(),
            next_connection: 0,
            containers: BTreeMap::new(),
            execs: HashMap::new(),
            workers: Vec::new(),
            unclaimed: HashMap::new(),
            ending: false,
        }
    }

    /// Serves until it is told to end and every answer is sent.
    pub(super) fn run(mut self) -> io::Result<()> {
        while !(self.ending && self.connections.values().all(|c| !c.wire.wants_to_send())) {
            // Workers are removed by position, so they are handled from the last to the first.
            let mut ready = self.wait()?;
            ready.reverse();
            for (token, flags) in ready {
                self.handle(token, flags)?;
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<Vec<(Token, PollFlags)>> {
        let mut tokens = vec![Token::Listener, Token::Signals];
        let mut fds = vec![
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        for (id, connection) in &self.connections {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, connection.wire.wants_to_send());
            tokens.push(Token::Connection(*id));
            fds.push(PollFd::new(&connection.socket, flags));
        }
        for (index, worker) in self.workers.iter().enumerate() {
            tokens.push(Token::Worker(index));
            fds.push(PollFd::new(&worker.socket, PollFlags::IN));
        }
        for (id, container) in &self.containers {
            for (index, stream) in container.streams.iter().enumerate() {
                if let Some(source) = stream.source.as_ref().filter(|_| stream.may_read()) {
                    tokens.push(Token::Output(id.clone(), index));
                    fds.push(PollFd::new(source, PollFlags::IN));
                }
                for (position, client) in stream.attached.iter().enumerate() {
                    // A client that has gone shows as an error even when nothing waits for it.
                    let mut flags = PollFlags::empty();
                    flags.set(PollFlags::OUT, stream.is_waiting(position));
                    tokens.push(Token::Attached(id.clone(), index));
                    fds.push(PollFd::new(&client.pipe, flags));
                }
            }
        }
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        let flags = fds.iter().map(PollFd::revents);
        Ok(tokens.into_iter().zip(flags).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn handle(&mut self, token: Token, flags: PollFlags) -> io::Result<()> {
        match token {
            Token::Listener => self.accept(),
            Token::Signals => {
                while matches!(self.signals.read_signal(), Ok(Some(_))) {}
                self.reap();
            }
            Token::Connection(id) => self.serve(id, flags),
            Token::Worker(index) => self.worker_reported(index),
            Token::Output(id, index) => {
                if let Some(container) = self.containers.get_mut(&id) {
                    let mut buffer = [0; BUFFER_BYTES];
                    if let Some(stream) = container.streams.get_mut(index) {
                        stream.read(&mut buffer, &mut container.log);
                    }
                }
            }
            Token::Attached(id, index) => {
                let stream = self.containers.get_mut(&id).and_then(|c| c.streams.get_mut(index));
                if let Some(stream) = stream {
                    if flags.intersects(PollFlags::ERR | PollFlags::NVAL) {
                        stream.drop_gone();
                    }
                    stream.feed();
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        let Ok((socket, _)) = self.listener.accept() else { return };
        if self.connections.len() >= SHIM_CONNECTIONS_MAX {
            return;
        }
        self.next_connection += 1;
        let connection = Connection { socket, wire: Wire::default() };
        self.connections.insert(self.next_connection, connection);
    }

    fn serve(&mut self, id: u64, flags: PollFlags) {
        if let Some(connection) = self.connections.get_mut(&id)
            && flags.contains(PollFlags::OUT)
            && connection.wire.send(&connection.socket).is_err()
        {
            self.connections.remove(&id);
        }
        if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.receive(id);
        }
    }

    fn receive(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.wire.receive(&connection.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok(true) => {}
            Ok(false) | Err(_) => {
                self.connections.remove(&id);
                return;
            }
        }
        while let Some(connection) = self.connections.get_mut(&id) {
            match connection.wire.next_message::<Request>() {
                Ok(Some((request, descriptors))) => {
                    let outcome = self.call(id, request.id, request.call, descriptors);
                    self.reply(id, request.id, outcome);
                }
                Ok(None) => return,
                Err(_) => {
                    self.connections.remove(&id);
                }
            }
        }
    }

    fn reply(&mut self, connection: u64, request: u64, outcome: Outcome) {
        let (result, descriptors) = match outcome {
            Ok(None) => return,
            Ok(Some((answer, descriptors))) => (Ok(answer), descriptors),
            Err(failure) => (Err(failure), Vec::new()),
        };
        self.send(connection, &Message::Reply { id: request, result }, descriptors);
    }

    /// A server that does not read its messages is dropped; it finds everything when it comes back.
    fn send(&mut self, id: u64, message: &Message, descriptors: Vec<OwnedFd>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pushed = connection.wire.push(message, descriptors);
        if pushed.is_err() || connection.wire.send(&connection.socket).is_err() {
            self.connections.remove(&id);
        }
    }

    fn publish(&mut self, event: Event) {
        let message = Message::Event(event);
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.send(id, &message, Vec::new());
        }
    }

    fn call(&mut self, from: u64, id: u64, call: Call, mut fds: Vec<OwnedFd>) -> Outcome {
        let done = Ok(Some((Answer::Done, Vec::new())));
        match call {
            Call::State => Ok(Some((Answer::State(self.state()), Vec::new()))),
            Call::Start(start) => self.start(from, id, start),
            Call::Exec(exec) => self.exec(from, id, exec, fds),
            Call::Attach(attach) => self.attach(&attach, &mut fds),
            Call::Signal { container_id, signal } => {
                let container = self.container(&container_id)?;
                if container.is_running() {
                    linux::process::kill(container.pid, signal).map_err(failure)?;
                }
                done
            }
            Call::KillExec { exec_id } => {
                let pid = self.execs.iter().find(|(_, id)| **id == exec_id).map(|(pid, _)| *pid);
                if let Some(pid) = pid {
                    linux::process::kill(pid, SIGKILL).map_err(failure)?;
                }
                done
            }
            Call::ReopenLog { container_id } => {
                if let Some(log) = &mut self.container(&container_id)?.log {
                    log.reopen().map_err(failure)?;
                }
                done
            }
            Call::Connect { port } => Ok(Some((Answer::Done, vec![connect(port)?]))),
            Call::Forget { container_id } => {
                if self.containers.get(&container_id).is_some_and(Container::is_running) {
                    return Err(failure("the container runs"));
                }
                self.containers.remove(&container_id);
                done
            }
            Call::Exit => {
                self.kill_everything();
                self.ending = true;
                done
            }
        }
    }

    fn container(&mut self, id: &str) -> Result<&mut Container, Failure> {
        self.containers.get_mut(id).ok_or_else(|| Failure {
            not_found: true,
            message: format!("container {id} is not known to the shim"),
        })
    }

    fn state(&self) -> State {
        State {
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            pause_pid: self.pause.as_ref().map(|pause| pause.pid),
            containers: self.containers.values().map(Container::state).collect(),
        }
    }

    fn start(&mut self, from: u64, id: u64, start: StartContainer) -> Outcome {
        if self.containers.contains_key(&start.container_id) {
            return Err(failure(format!("container {} was started already", start.container_id)));
        }
        if self.containers.len() >= SHIM_CONTAINERS_MAX {
            return Err(failure("too many containers"));
        }
        let (container, stdio) = Container::prepare(start.clone()).map_err(failure)?;
        let task = Task::Start(&start);
        let socket = worker::spawn(&self.config.oci_root, &start.bundle, &task, stdio);
        let subject = Subject::Container(start.container_id.clone());
        self.add_worker(from, id, socket.map_err(failure)?, subject);
        self.containers.insert(start.container_id, container);
        Ok(None)
    }

    fn exec(&mut self, from: u64, id: u64, exec: StartExec, fds: Vec<OwnedFd>) -> Outcome {
        if self.execs.len() + self.workers.len() >= SHIM_EXECS_MAX {
            return Err(failure("too many commands"));
        }
        let container = self.container(&exec.container_id)?;
        if !container.is_running() {
            return Err(failure("container is not running"));
        }
        let bundle = container.start.bundle.clone();
        let mut fds = fds.into_iter();
        let mut take = |wanted: bool| if wanted && !exec.tty { fds.next() } else { None };
        let stdio =
            Stdio { stdin: take(exec.stdin), stdout: take(exec.stdout), stderr: take(exec.stderr) };
        let socket = worker::spawn(&self.config.oci_root, &bundle, &Task::Exec(&exec), stdio);
        self.add_worker(from, id, socket.map_err(failure)?, Subject::Exec(exec.exec_id));
        Ok(None)
    }

    fn add_worker(&mut self, connection: u64, request: u64, socket: UnixStream, subject: Subject) {
        let wire = Wire::default();
        self.workers.push(Worker { socket, wire, connection, request, subject });
    }

    fn worker_reported(&mut self, index: usize) {
        let Some(worker) = self.workers.get_mut(index) else { return };
        let open = match worker.wire.receive(&worker.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            received => received.unwrap_or(false),
        };
        let (report, terminal) = match worker.wire.next_message::<Report>() {
            Ok(Some((report, fds))) => (report, fds.into_iter().next()),
            Ok(None) if open => return,
            _ => {
                let error =
                    Some("the process that starts containers ended unexpectedly".to_owned());
                (Report { error, ..Report::default() }, None)
            }
        };
        let worker = self.workers.remove(index);
        let outcome = match worker.subject {
            Subject::Container(id) => self.container_started(&id, report, terminal),
            Subject::Exec(id) => self.exec_started(id, report, terminal),
        };
        let (pid, outcome) = match outcome {
            Ok((pid, answer, fds)) => (Some(pid), Ok(Some((answer, fds)))),
            Err(failure) => (None, Err(failure)),
        };
        self.reply(worker.connection, worker.request, outcome);
        // The process may have ended before it was known what it is.
        if let Some(code) = pid.and_then(|pid| self.unclaimed.remove(&pid)) {
            self.process_ended(pid.unwrap_or_default(), code);
        }
        if self.workers.is_empty() {
            self.unclaimed = HashMap::new();
        }
    }

    fn container_started(
        &mut self,
        id: &str,
        report: Report,
        terminal: Option<OwnedFd>,
    ) -> Result<(i32, Answer, Vec<OwnedFd>), Failure> {
        let started = match report.error {
            Some(error) => Err(failure(error)),
            None => {
                let container = self.container(id)?;
                container.started(report.pid, terminal).map_err(failure)
            }
        };
        if let Err(failure) = started {
            self.containers.remove(id);
            return Err(failure);
        }
        let started_at = self.container(id)?.started_at;
        let answer = Answer::Started { pid: report.pid, started_at, warnings: report.warnings };
        Ok((report.pid, answer, Vec::new()))
    }

    fn exec_started(
        &mut self,
        id: String,
        report: Report,
        terminal: Option<OwnedFd>,
    ) -> Result<(i32, Answer, Vec<OwnedFd>), Failure> {
        if let Some(error) = report.error {
            return Err(failure(error));
        }
        self.execs.insert(report.pid, id);
        Ok((report.pid, Answer::Exec { pid: report.pid }, terminal.into_iter().collect()))
    }

    fn attach(&mut self, attach: &Attach, fds: &mut Vec<OwnedFd>) -> Outcome {
        let container = self.container(&attach.container_id)?;
        if !container.is_running() {
            return Err(failure("container is not running"));
        }
        let mut fds = fds.drain(..);
        let wanted = [(attach.stdout, StreamName::Stdout), (attach.stderr, StreamName::Stderr)];
        for (_, name) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
            let Some(pipe) = fds.next() else { return Err(failure("a descriptor is missing")) };
            if let Some(stream) = container.stream(name)
                && !stream.attach(pipe).map_err(failure)?
            {
                return Err(failure("too many clients are attached"));
            }
        }
        let input = if attach.stdin { container.take_input().map_err(failure)? } else { None };
        Ok(Some((Answer::Done, input.into_iter().collect())))
    }

    /// Takes the exit codes of all children that have ended.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let code = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => code,
                (None, Some(signal)) => 128 + signal,
                (None, None) => continue,
            };
            self.process_ended(pid.as_raw_nonzero().get(), code);
        }
    }

    fn process_ended(&mut self, pid: i32, code: i32) {
        if let Some(exec_id) = self.execs.remove(&pid) {
            self.publish(Event::ExecExited { exec_id, exit_code: code });
            return;
        }
        let found = self.containers.values_mut().find(|c| c.pid == pid && c.is_running());
        let Some(container) = found else {
            if !self.workers.is_empty() {
                self.unclaimed.insert(pid, code);
            }
            return;
        };
        let container_id = container.start.container_id.clone();
        let mut buffer = [0; BUFFER_BYTES];
        let exit = match container.ended(code, &mut buffer) {
            Ok(exit) => exit,
            // The disk is full or gone: the server still hears of it.
            Err(_) => container
                .exit
                .clone()
                .unwrap_or_else(|| Exit { exit_code: EXIT_UNKNOWN, ..Exit::default() }),
        };
        self.publish(Event::ContainerExited { container_id, exit });
    }

    fn kill_everything(&mut self) {
        let running = self.containers.values().filter(|container| container.is_running());
        for pid in running.map(|container| container.pid).chain(self.execs.keys().copied()) {
            if linux::process::kill(pid, SIGKILL).is_err() {
                // It is gone.
            }
        }
        if let Some(pause) = &self.pause
            && let Some(pid) = Pid::from_raw(pause.pid)
            && rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_err()
        {
            // It is gone.
        }
    }
}

/// Connects to a port on the pod's loopback. A connection to this machine is made or refused at once.
fn connect(port: u16) -> Result<OwnedFd, Failure> {
    let socket = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .or_else(|_| std::net::TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, port)))
        .map_err(|error| failure(format!("connect to port {port}: {error}")))?;
    socket.set_nonblocking(true).map_err(failure)?;
    Ok(OwnedFd::from(socket))
}
