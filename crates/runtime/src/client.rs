//! The server's side of a shim's socket: calls that are awaited, events that are pushed on.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::limits::{QUEUE_FRAMES_MAX, SHIM_CALL_TIMEOUT};
use crate::shim::protocol::{Answer, Call, Event, Failure, Message, Request};
use crate::shim::wire::{Wire, WireError};

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The shim said no.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// The shim is gone.
    #[error("the shim is gone")]
    Gone,
    /// The shim takes too long.
    #[error("the shim did not answer in {0:?}")]
    Timeout(Duration),
}

/// What a shim pushes.
#[derive(Debug)]
pub(crate) enum ShimEvent {
    /// A container ended.
    Exited { container_id: String, exit: crate::shim::protocol::Exit },
    /// The connection ended: the shim is dead.
    Lost { sandbox_id: String },
}

/// A connection to a shim; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ShimClient {
    calls: mpsc::Sender<Outgoing>,
    execs: Execs,
}

type Execs = Arc<Mutex<HashMap<String, oneshot::Sender<i32>>>>;

#[derive(Debug)]
struct Outgoing {
    call: Call,
    descriptors: Vec<OwnedFd>,
    answer: Answering,
}

/// Where an answer is awaited, with the descriptors that come along.
type Answering = oneshot::Sender<Result<(Answer, Vec<OwnedFd>), CallError>>;

impl ShimClient {
    /// Connects to the shim that listens at `socket`.
    pub(crate) async fn connect(
        scope: &task::Scope,
        socket: &Path,
        sandbox_id: &str,
        events: mpsc::Sender<ShimEvent>,
    ) -> io::Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        let (calls, queue) = mpsc::channel(QUEUE_FRAMES_MAX);
        let execs = Execs::default();
        let connection = Connection {
            stream,
            wire: Wire::default(),
            waiting: HashMap::new(),
            next: 0,
            execs: Arc::clone(&execs),
            events: events.clone(),
        };
        let sandbox_id = sandbox_id.to_owned();
        scope.spawn_until_cancelled("shim", async move {
            if let Err(error) = connection.run(queue).await {
                tracing::debug!(sandbox_id, %error, "shim connection ended");
            }
            if events.send(ShimEvent::Lost { sandbox_id }).await.is_err() {
                // The runtime is gone too.
            }
        });
        Ok(Self { calls, execs })
    }

    /// Asks for something with the usual patience.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, CallError> {
        let (answer, _) = self.call_with(call, Vec::new(), SHIM_CALL_TIMEOUT).await?;
        Ok(answer)
    }

    /// Asks for something, sending and receiving descriptors.
    pub(crate) async fn call_with(
        &self,
        call: Call,
        descriptors: Vec<OwnedFd>,
        patience: Duration,
    ) -> Result<(Answer, Vec<OwnedFd>), CallError> {
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing { call, descriptors, answer };
        self.calls.send(outgoing).await.map_err(|_| CallError::Gone)?;
        match tokio::time::timeout(patience, answered).await {
            Ok(answer) => answer.map_err(|_| CallError::Gone)?,
            Err(_) => Err(CallError::Timeout(patience)),
        }
    }

    /// The exit code of a command; register before it is started. The sender is dropped with the shim.
    pub(crate) fn expect_exec(&self, exec_id: &str) -> oneshot::Receiver<i32> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.execs).insert(exec_id.to_owned(), sender);
        receiver
    }

    /// Forgets a command that did not start.
    pub(crate) fn forget_exec(&self, exec_id: &str) {
        lock(&self.execs).remove(exec_id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Connection {
    stream: UnixStream,
    wire: Wire,
    waiting: HashMap<u64, Answering>,
    next: u64,
    execs: Execs,
    events: mpsc::Sender<ShimEvent>,
}

impl Connection {
    async fn run(mut self, mut queue: mpsc::Receiver<Outgoing>) -> Result<(), ConnectionError> {
        let result = loop {
            let wants_to_send = self.wire.wants_to_send();
            tokio::select! {
                outgoing = queue.recv() => match outgoing {
                    Some(outgoing) => self.push(outgoing)?,
                    None => break Ok(()),
                },
                ready = self.stream.readable() => {
                    ready?;
                    if !self.receive().await? {
                        break Ok(());
                    }
                }
                ready = self.stream.writable(), if wants_to_send => {
                    ready?;
                    let (stream, wire) = (&self.stream, &mut self.wire);
                    match stream.try_io(Interest::WRITABLE, || wire.send_now(stream)) {
                        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error)?,
                        _ => {}
                    }
                }
            }
        };
        lock(&self.execs).clear();
        result
    }

    fn push(&mut self, outgoing: Outgoing) -> Result<(), ConnectionError> {
        self.next += 1;
        self.wire.push(&Request { id: self.next, call: outgoing.call }, outgoing.descriptors)?;
        self.waiting.retain(|_, answer| !answer.is_closed());
        self.waiting.insert(self.next, outgoing.answer);
        Ok(())
    }

    async fn receive(&mut self) -> Result<bool, ConnectionError> {
        let (stream, wire) = (&self.stream, &mut self.wire);
        let open = match stream.try_io(Interest::READABLE, || wire.receive(stream)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            received => received?,
        };
        while let Some((message, descriptors)) = self.wire.next_message::<Message>()? {
            match message {
                Message::Reply { id, result } => {
                    let result = result.map(|answer| (answer, descriptors));
                    if let Some(answer) = self.waiting.remove(&id)
                        && answer.send(result.map_err(CallError::Refused)).is_err()
                    {
                        tracing::debug!(id, "nobody waits for this answer of the shim any more");
                    }
                }
                Message::Event(Event::ExecExited { exec_id, exit_code }) => {
                    if let Some(waiting) = lock(&self.execs).remove(&exec_id)
                        && waiting.send(exit_code).is_err()
                    {
                        tracing::debug!(exec_id, "nobody waits for this command any more");
                    }
                }
                Message::Event(Event::ContainerExited { container_id, exit }) => {
                    let event = ShimEvent::Exited { container_id, exit };
                    self.events.send(event).await.map_err(|_| ConnectionError::Closed)?;
                }
            }
        }
        Ok(open)
    }
}

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("socket")]
    Io(#[from] io::Error),
    #[error("protocol")]
    Wire(#[from] WireError),
    #[error("the runtime is ending")]
    Closed,
}
