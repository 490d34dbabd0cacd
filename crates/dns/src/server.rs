//! Sockets: questions in, answers out, over UDP and TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use clock::{Clock, Random};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::forward::Forwarder;
use crate::limits::{
    FORWARDS_MAX, QUESTION_BYTES_MAX, TCP_CONNECTIONS_MAX, TCP_IDLE_MAX, TCP_MESSAGE_BYTES_MAX,
};
use crate::message::{Incoming, Question, encode, read, udp_limit};
use crate::metrics::Metrics;
use crate::resolve::{Prompt, Resolver, failed};
use crate::zone_keeper::SharedZone;

/// TCP connections that wait to be accepted.
const TCP_BACKLOG: i32 = 128;
/// Bursts of questions wait here.
const UDP_RECEIVE_BYTES: usize = 1024 * 1024;

/// The name server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be had.
    #[error("cannot serve names on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A running name server.
#[derive(Debug)]
pub struct Server {
    /// Where it listens; as configured, with the port that the kernel chose for port 0.
    pub addresses: Vec<SocketAddr>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
}

impl Server {
    /// Listens on every address of `config` and answers from `zone` until `scope` is cancelled. The
    /// addresses need not be the node's yet.
    pub fn start(
        config: &Config,
        zone: SharedZone,
        clock: Clock,
        random: Random,
        scope: &task::Scope,
    ) -> Result<Self, ServeError> {
        let metrics = Arc::new(Metrics::default());
        let forwarder = Forwarder::new(config, clock, random, Arc::clone(&metrics));
        let shared = Arc::new(Shared {
            resolver: Resolver::new(zone, forwarder, Arc::clone(&metrics)),
            metrics: Arc::clone(&metrics),
            waiting: Arc::new(Semaphore::new(FORWARDS_MAX)),
            connections: Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX)),
            scope: scope.clone(),
        });
        let mut addresses = Vec::new();
        for address in &config.listen {
            let failed = |source| ServeError::Listen { address: *address, source };
            let (udp, tcp, bound) = listen(*address).map_err(failed)?;
            let (udp, tcp) = (Arc::new(udp), tcp);
            scope.spawn_until_cancelled("dns-udp", serve_udp(Arc::clone(&shared), udp));
            scope.spawn_until_cancelled("dns-tcp", serve_tcp(Arc::clone(&shared), tcp));
            addresses.push(bound);
        }
        Ok(Self { addresses, metrics })
    }
}

#[derive(Debug)]
struct Shared {
    resolver: Resolver,
    metrics: Arc<Metrics>,
    waiting: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    scope: task::Scope,
}

fn listen(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let udp = socket(address, SocketType::DGRAM)?;
    sockopt::set_socket_recv_buffer_size(&udp, UDP_RECEIVE_BYTES)?;
    rustix::net::bind(&udp, &address)?;
    let udp = std::net::UdpSocket::from(udp);
    let bound = SocketAddr::new(address.ip(), udp.local_addr()?.port());
    let tcp = socket(address, SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&tcp, true)?;
    rustix::net::bind(&tcp, &bound)?;
    rustix::net::listen(&tcp, TCP_BACKLOG)?;
    let tcp = std::net::TcpListener::from(tcp);
    Ok((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?, bound))
}

fn socket(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    // The pod network may give the node the address later.
    match address.ip() {
        IpAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        IpAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
    }
    Ok(socket)
}

async fn serve_udp(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; QUESTION_BYTES_MAX];
    loop {
        let (read_bytes, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error for an earlier answer; the next datagram is unharmed.
                tracing::debug!(%error, "a DNS client went away");
                continue;
            }
        };
        shared.metrics.udp_requests.add();
        let question = match shared.read(&buffer[..read_bytes]) {
            Ok(question) => question,
            Err(refusal) => {
                if let Some(bytes) = refusal {
                    send(&socket, &bytes, client).await;
                }
                continue;
            }
        };
        let limit = udp_limit(&question.request);
        match shared.resolver.prompt(&question) {
            Prompt::Answer(answer) => {
                if let Some(bytes) = shared.encode(answer, limit) {
                    send(&socket, &bytes, client).await;
                }
            }
            Prompt::Ask(response, query) => {
                let Ok(slot) = Arc::clone(&shared.waiting).try_acquire_owned() else {
                    shared.metrics.overloaded.add();
                    if let Some(bytes) = shared.encode(failed(response), limit) {
                        send(&socket, &bytes, client).await;
                    }
                    continue;
                };
                let (shared, socket) = (Arc::clone(&shared), Arc::clone(&socket));
                let scope = shared.scope.clone();
                scope.spawn_until_cancelled("dns-forward", async move {
                    let resolver = &shared.resolver;
                    let answer = resolver.complete(&question, response, &query, client.ip()).await;
                    if let Some(bytes) = shared.encode(answer, limit) {
                        send(&socket, &bytes, client).await;
                    }
                    drop(slot);
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, bytes: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(bytes, client).await {
        tracing::debug!(%client, %error, "cannot answer a DNS client");
    }
}

async fn serve_tcp(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let Ok(slot) = Arc::clone(&shared.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                let shared = Arc::clone(&shared);
                let scope = shared.scope.clone();
                scope.spawn_until_cancelled("dns-connection", async move {
                    if let Err(error) = serve_connection(&shared, stream, client).await {
                        tracing::debug!(%client, %error, "a DNS connection broke off");
                    }
                    drop(slot);
                });
            }
            Err(error) => tracing::debug!(%error, "a DNS client went away"),
        }
    }
}

/// Questions of one connection, one after the other, until it is closed or idle for too long.
async fn serve_connection(
    shared: &Shared,
    mut stream: TcpStream,
    client: SocketAddr,
) -> io::Result<()> {
    loop {
        let question = match tokio::time::timeout(TCP_IDLE_MAX, read_framed(&mut stream)).await {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(error)) => return Err(error),
        };
        shared.metrics.tcp_requests.add();
        let answer = match shared.read(&question) {
            Ok(question) => shared.answer(&question, client.ip()).await,
            Err(refusal) => refusal,
        };
        let Some(answer) = answer else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        match tokio::time::timeout(TCP_IDLE_MAX, stream.write_all(&framed)).await {
            Ok(written) => written?,
            Err(_) => return Ok(()),
        }
    }
}

/// A message with its length in front; `None` at the end of the connection.
async fn read_framed(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > QUESTION_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(Some(bytes))
}

impl Shared {
    /// The question in a packet, or the refusal to answer with, if any.
    fn read(&self, bytes: &[u8]) -> Result<Box<Question>, Option<Vec<u8>>> {
        match read(bytes) {
            Incoming::Question(question) => Ok(question),
            Incoming::Refused(message) => {
                self.metrics.malformed.add();
                Err(encode(*message, TCP_MESSAGE_BYTES_MAX).map(|(bytes, _)| bytes))
            }
            Incoming::Ignored => {
                self.metrics.malformed.add();
                Err(None)
            }
        }
    }

    async fn answer(&self, question: &Question, client: IpAddr) -> Option<Vec<u8>> {
        let message = match self.resolver.prompt(question) {
            Prompt::Answer(message) => message,
            Prompt::Ask(response, query) => {
                self.resolver.complete(question, response, &query, client).await
            }
        };
        self.encode(message, TCP_MESSAGE_BYTES_MAX)
    }

    fn encode(&self, message: hickory_proto::op::Message, limit: usize) -> Option<Vec<u8>> {
        let (bytes, cut) = encode(message, limit)?;
        if cut {
            self.metrics.truncated.add();
        }
        Some(bytes)
    }
}
