//! Asking the host's name servers.
//!
//! Every question leaves from a port of its own with a number of its own, and only an answer to exactly that
//! question is taken.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use clock::{Clock, Random};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::RecordType;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::cache::{Cache, Key};
use crate::config::Config;
use crate::host_servers::HostServers;
use crate::limits::{FORWARD_ATTEMPT_MAX, FORWARDS_MAX, QUESTION_BYTES_MAX, UDP_ANSWER_BYTES_MAX};
use crate::message::Question;
use crate::metrics::Metrics;

/// Nobody answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// There is nobody to ask.
    #[error("the host has no name server")]
    NoServer,
    /// Too many questions are open.
    #[error("too many questions are being asked at once")]
    Overloaded,
    /// The question came from the server that we are asking it.
    #[error("the host's name server asks us what we ask it")]
    Loop,
    /// All failed.
    #[error("no name server of the host answered; the last was {server}")]
    Failed {
        /// The last that was asked.
        server: SocketAddr,
        /// What happened to it.
        #[source]
        source: io::Error,
    },
}

/// Asks the host's name servers, and remembers what they said.
#[derive(Debug)]
pub(crate) struct Forwarder {
    servers: HostServers,
    cache: Cache,
    clock: Clock,
    random: Mutex<Random>,
    slots: Semaphore,
    /// Questions that are being asked, and how often.
    open: Mutex<HashMap<(Query, IpAddr), usize>>,
    metrics: Arc<Metrics>,
}

impl Forwarder {
    pub(crate) fn new(
        config: &Config,
        clock: Clock,
        random: Random,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            servers: HostServers::new(config),
            cache: Cache::default(),
            clock,
            random: Mutex::new(random),
            slots: Semaphore::new(FORWARDS_MAX),
            open: Mutex::default(),
            metrics,
        }
    }

    /// The answer to `query` if it is known without asking.
    pub(crate) fn cached(&self, question: &Question, query: &Query) -> Option<Message> {
        let found = self.cache.get(&key_of(question, query), self.clock.now());
        let counter =
            if found.is_some() { &self.metrics.cache_hits } else { &self.metrics.cache_misses };
        counter.add();
        found
    }

    /// The answer to `query`, asked on behalf of `question` by `client`.
    pub(crate) async fn ask(
        &self,
        question: &Question,
        query: &Query,
        client: IpAddr,
    ) -> Result<Message, ForwardError> {
        if self.open.lock().contains_key(&(query.clone(), client.to_canonical())) {
            self.metrics.loops.add();
            return Err(ForwardError::Loop);
        }
        let Ok(_slot) = self.slots.try_acquire() else {
            self.metrics.overloaded.add();
            return Err(ForwardError::Overloaded);
        };
        self.metrics.forwards.add();
        let outcome = self.ask_all(question, query).await;
        match &outcome {
            Ok(message) => self.cache.put(key_of(question, query), message, self.clock.now()),
            Err(_) => self.metrics.forward_failures.add(),
        }
        outcome
    }

    async fn ask_all(&self, question: &Question, query: &Query) -> Result<Message, ForwardError> {
        let mut failure = ForwardError::NoServer;
        for server in self.servers.list(self.clock.now()) {
            let request = self.request(question, query);
            let _open = self.note(query, server.ip());
            let attempt = tokio::time::timeout(FORWARD_ATTEMPT_MAX, exchange(&request, server));
            let late = || io::Error::from(io::ErrorKind::TimedOut);
            match attempt.await.unwrap_or_else(|_| Err(late())) {
                Ok(answer) => return Ok(answer),
                Err(source) => {
                    tracing::debug!(%server, %source, "a name server of the host failed");
                    failure = ForwardError::Failed { server, source };
                }
            }
        }
        Err(failure)
    }

    fn request(&self, question: &Question, query: &Query) -> Message {
        let id = u16::try_from(self.random.lock().below(usize::from(u16::MAX) + 1)).unwrap_or(0);
        let mut request = Message::new(id, MessageType::Query, OpCode::Query);
        request.metadata.recursion_desired = true;
        request.metadata.checking_disabled = question.request.metadata.checking_disabled;
        request.add_query(query.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(u16::try_from(UDP_ANSWER_BYTES_MAX).unwrap_or(u16::MAX));
        edns.set_dnssec_ok(wants_dnssec(question));
        request.set_edns(edns);
        request
    }

    fn note(&self, query: &Query, server: IpAddr) -> Noted<'_> {
        let key = (query.clone(), server);
        *self.open.lock().entry(key.clone()).or_default() += 1;
        Noted { open: &self.open, key }
    }
}

/// A question that is being asked, until it is dropped.
struct Noted<'a> {
    open: &'a Mutex<HashMap<(Query, IpAddr), usize>>,
    key: (Query, IpAddr),
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

fn key_of(question: &Question, query: &Query) -> Key {
    Key {
        name: query.name().to_lowercase(),
        record_type: query.query_type(),
        dnssec_ok: wants_dnssec(question),
        checking_disabled: question.request.metadata.checking_disabled,
    }
}

fn wants_dnssec(question: &Question) -> bool {
    question.request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok)
}

/// One question to one server: over UDP, and over TCP when the answer does not fit.
async fn exchange(request: &Message, server: SocketAddr) -> io::Result<Message> {
    let bytes = request.to_vec().map_err(io::Error::other)?;
    let answer = exchange_udp(request, &bytes, server).await?;
    if answer.metadata.truncation {
        return exchange_tcp(request, &bytes, server).await;
    }
    Ok(answer)
}

async fn exchange_udp(request: &Message, bytes: &[u8], server: SocketAddr) -> io::Result<Message> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; QUESTION_BYTES_MAX];
    loop {
        let read = socket.recv(&mut buffer).await?;
        // What does not answer the question is noise, or somebody who guesses.
        if let Some(answer) = read_answer(request, &buffer[..read]) {
            return Ok(answer);
        }
    }
}

async fn exchange_tcp(request: &Message, bytes: &[u8], server: SocketAddr) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    read_answer(request, &buffer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

pub(crate) fn read_answer(request: &Message, bytes: &[u8]) -> Option<Message> {
    let mut answer = Message::from_vec(bytes).ok()?;
    let fits = answer.metadata.id == request.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == request.queries;
    // Between this server and its client EDNS is their own affair.
    answer.edns = None;
    answer.additionals.retain(|record| record.record_type() != RecordType::OPT);
    fits.then_some(answer)
}
