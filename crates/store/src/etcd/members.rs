//! The members of the cluster: which one is asked, for how long, and what is tried again elsewhere.
//!
//! Reads may be asked again of another member at will. A write may not, once it could have reached one: it
//! might take place twice; unless it is tied to a revision (`etcd/doubt.rs`). What etcd answers is told apart here
//! from what it did not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clock::Clock;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::options::EtcdOptions;
use super::trust;
use crate::limits::{
    ETCD_ANSWER_BYTES_MAX, ETCD_ATTEMPTS_MAX, ETCD_BACKOFF, ETCD_CONNECT_MAX, ETCD_PATIENCE,
    ETCD_PING_ANSWER_MAX, ETCD_PING_PERIOD, ETCD_READ_MAX, ETCD_TIED_WRITE_MAX, ETCD_WRITE_MAX,
};
use crate::{LeaseId, Revision, StoreError};

/// Bytes that may be on their way before a member waits for us.
const WINDOW_BYTES: u32 = 8 << 20;

/// Whether a request may take place more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or the same again.
    Harmless,
    /// It can take place once at most, however often it is asked for; whether an earlier attempt has, the
    /// answer to a later one does not tell.
    Tied,
    /// Only when it certainly did not take place.
    OnlyUndone,
}

impl Repeat {
    /// How long a member may take before another is asked, or the outcome counts as unknown.
    fn limit(self) -> Duration {
        match self {
            Self::Harmless => ETCD_READ_MAX,
            Self::Tied => ETCD_TIED_WRITE_MAX,
            Self::OnlyUndone => ETCD_WRITE_MAX,
        }
    }
}

/// An answer, and whether a member that was asked before may have done the same.
#[derive(Debug)]
pub(super) struct Answered<A> {
    pub(super) answer: A,
    pub(super) is_doubtful: bool,
}

/// Why an attempt failed.
#[derive(Debug)]
enum Fault {
    /// The cluster has spoken.
    Final(StoreError),
    /// It did not take place.
    Undone(Status),
    /// Nobody knows.
    Unknown(Status),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Members {
    channels: Vec<Channel>,
    current: AtomicUsize,
    clock: Clock,
    options: EtcdOptions,
}

/// How long one question is put to the members in turn.
struct Patience {
    attempt: usize,
    pause: Duration,
    until: Instant,
}

impl Patience {
    fn new() -> Self {
        Self { attempt: 1, pause: ETCD_BACKOFF.0, until: Instant::now() + ETCD_PATIENCE }
    }

    /// Whether the attempt that has failed was the last.
    fn is_over(&self) -> bool {
        self.attempt >= ETCD_ATTEMPTS_MAX || Instant::now() >= self.until
    }

    /// The others are tried at once; only when all have failed there is something to wait for.
    async fn next(&mut self, members: &Members) {
        if self.attempt.is_multiple_of(members.channels.len()) {
            members.clock.sleep(self.pause).await;
            self.pause = (self.pause * 2).min(ETCD_BACKOFF.1);
        }
        self.attempt += 1;
    }
}

impl Members {
    /// Connects to nobody yet.
    pub(super) fn new(options: &EtcdOptions) -> Result<Self, StoreError> {
        trust::check(options)?;
        let channels = options.servers.iter().map(|server| channel(server, options));
        let channels = channels.collect::<Result<Vec<_>, _>>()?;
        if channels.is_empty() {
            let reason = "no etcd server is named".to_owned();
            return Err(StoreError::InvalidOption { reason });
        }
        let (clock, options) = (options.clock.clone(), options.clone());
        Ok(Self { channels, current: AtomicUsize::new(0), clock, options })
    }

    /// Asks one member after the other, as far as `repeat` allows.
    pub(super) async fn call<Q, A>(
        &self,
        method: &'static str,
        attempted: &'static str,
        request: Q,
        repeat: Repeat,
    ) -> Result<A, StoreError>
    where
        Q: Message + Clone + Default + 'static,
        A: Message + Default + 'static,
    {
        let called = self.call_with_doubt(method, attempted, request, repeat).await;
        called.map(|answered| answered.answer)
    }

    /// The same, for who has to know of earlier attempts. An error is `Uncertain` where one of them may have
    /// succeeded.
    pub(super) async fn call_with_doubt<Q, A>(
        &self,
        method: &'static str,
        attempted: &'static str,
        request: Q,
        repeat: Repeat,
    ) -> Result<Answered<A>, StoreError>
    where
        Q: Message + Clone + Default + 'static,
        A: Message + Default + 'static,
    {
        let (mut patience, mut is_doubtful) = (Patience::new(), false);
        let uncertain = |source| StoreError::Uncertain { attempted, source };
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let fault = match self.ask(at, method, request.clone(), repeat.limit()).await {
                Ok(answer) => return Ok(Answered { answer, is_doubtful }),
                Err(status) => judge(status),
            };
            let (status, is_unknown) = match fault {
                Fault::Final(error) if is_doubtful => return Err(uncertain(Arc::new(error))),
                Fault::Final(error) => return Err(error),
                Fault::Undone(status) => (status, false),
                Fault::Unknown(status) => (status, true),
            };
            self.leave(at);
            let (words, is_distrust) = self.words(at, &status);
            is_doubtful |= is_unknown && repeat != Repeat::Harmless;
            // Trust does not come with time.
            let is_over = patience.is_over()
                || (is_distrust && patience.attempt >= self.channels.len())
                || (is_doubtful && repeat == Repeat::OnlyUndone);
            if is_over && is_doubtful {
                return Err(uncertain(Arc::new(words)));
            }
            if is_over {
                return Err(StoreError::engine(attempted, words));
            }
            patience.next(self).await;
        }
    }

    async fn ask<Q, A>(
        &self,
        at: usize,
        method: &'static str,
        request: Q,
        limit: Duration,
    ) -> Result<A, Status>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc(at).await?;
        let path = PathAndQuery::from_static(method);
        let codec = ProstCodec::<Q, A>::default();
        let asking = grpc.unary(led(request), path, codec);
        let answered = tokio::time::timeout(limit, asking).await;
        answered.unwrap_or_else(|_| Err(silent())).map(tonic::Response::into_inner)
    }

    /// Opens a stream that sends `first` and nothing after it; one attempt, at the member after the
    /// last that failed.
    pub(super) async fn stream<Q, A>(
        &self,
        method: &'static str,
        first: Q,
    ) -> Result<(Streaming<A>, usize), StoreError>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let at = self.current.load(Ordering::Relaxed);
        let open = async {
            let mut grpc = self.grpc(at).await?;
            let path = PathAndQuery::from_static(method);
            let codec = ProstCodec::<Q, A>::default();
            let requests = futures::StreamExt::chain(
                futures::stream::iter([first]),
                futures::stream::pending(),
            );
            let opening = grpc.streaming(led(requests), path, codec);
            let opened = tokio::time::timeout(ETCD_READ_MAX, opening).await;
            opened.unwrap_or_else(|_| Err(silent())).map(tonic::Response::into_inner)
        };
        match open.await {
            Ok(stream) => Ok((stream, at)),
            Err(status) => {
                self.leave(at);
                Err(self.settle(at, status, "open a stream"))
            }
        }
    }

    /// Asks for the first answer of a stream, of one member after the other; asking twice must be harmless.
    pub(super) async fn first_of_stream<Q, A>(
        &self,
        method: &'static str,
        attempted: &'static str,
        request: Q,
    ) -> Result<A, StoreError>
    where
        Q: Message + Clone + Default + 'static,
        A: Message + Default + 'static,
    {
        let mut patience = Patience::new();
        loop {
            match self.try_first_of_stream(method, attempted, request.clone()).await {
                Err(StoreError::Engine { .. }) if !patience.is_over() => patience.next(self).await,
                ended => return ended,
            }
        }
    }

    async fn try_first_of_stream<Q, A>(
        &self,
        method: &'static str,
        attempted: &'static str,
        request: Q,
    ) -> Result<A, StoreError>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let (mut stream, at) = self.stream::<Q, A>(method, request).await?;
        let answered = tokio::time::timeout(ETCD_READ_MAX, stream.message()).await;
        let status = match answered.unwrap_or_else(|_| Err(silent())) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => Status::unavailable("the member ended the stream"),
            Err(status) => status,
        };
        self.leave(at);
        Err(self.settle(at, status, attempted))
    }

    /// The error of something that is tried only once.
    pub(super) fn settle(&self, at: usize, status: Status, attempted: &'static str) -> StoreError {
        match judge(status) {
            Fault::Final(error) => error,
            Fault::Undone(status) | Fault::Unknown(status) => {
                StoreError::engine(attempted, self.words(at, &status).0)
            }
        }
    }

    /// What a member or the connection to it says; and whether one does not trust the other.
    fn words(&self, at: usize, status: &Status) -> (Words, bool) {
        let words = words(status);
        let server = self.options.servers.get(at % self.channels.len());
        let explained = trust::explain(&words.0, server.map_or("", String::as_str), &self.options);
        match explained {
            Some(explained) => (Words(format!("{explained} ({words})")), true),
            None => (words, false),
        }
    }

    async fn grpc(&self, at: usize) -> Result<Grpc<Channel>, Status> {
        let channel = self.channels[at % self.channels.len()].clone();
        let mut grpc = Grpc::new(channel).max_decoding_message_size(ETCD_ANSWER_BYTES_MAX);
        let ready = tokio::time::timeout(ETCD_CONNECT_MAX, grpc.ready()).await;
        // A request that was never handed in did not take place.
        ready
            .map_err(|_| undone("no connection in time"))?
            .map_err(|error| undone(&error.to_string()))?;
        Ok(grpc)
    }

    /// Turns away from a member that failed, unless somebody has done so already.
    pub(super) fn leave(&self, at: usize) {
        let next = (at + 1) % self.channels.len();
        let _other = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn channel(server: &str, options: &EtcdOptions) -> Result<Channel, StoreError> {
    let invalid = |what: &dyn std::fmt::Display| StoreError::InvalidOption {
        reason: format!("etcd server {server:?}: {what}"),
    };
    let is_plain = server.starts_with("http://");
    if !is_plain && !server.starts_with("https://") {
        return Err(invalid(&"expected https://HOST:PORT or http://HOST:PORT"));
    }
    let mut endpoint = Endpoint::from_shared(server.to_owned())
        .map_err(|error| invalid(&error))?
        .connect_timeout(ETCD_CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(ETCD_PING_PERIOD)
        .keep_alive_timeout(ETCD_PING_ANSWER_MAX)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    if !is_plain {
        let mut tls = ClientTlsConfig::new();
        if let Some(authority) = &options.authority_pem {
            tls = tls.ca_certificate(Certificate::from_pem(authority));
        }
        if let Some((certificate, key)) = &options.identity_pem {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        endpoint = endpoint.tls_config(tls).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.unwrap_or_default();
            match trust::unusable(&cause) {
                Some(reason) => StoreError::InvalidOption { reason: reason.to_owned() },
                None => invalid(&format!("{error}: {cause}")),
            }
        })?;
    }
    Ok(endpoint.connect_lazy())
}

/// A request that a member without a leader has to refuse instead of holding on to it.
fn led<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}

fn undone(why: &str) -> Status {
    let error: Box<dyn std::error::Error + Send + Sync> = why.into();
    let mut status = Status::unavailable(why);
    status.set_source(Arc::new(tonic::ConnectError(error)));
    status
}

fn silent() -> Status {
    Status::deadline_exceeded("the member did not answer in time")
}

/// What etcd or the connection says, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Words(String);

fn words(status: &Status) -> Words {
    let mut deepest = None;
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        deepest = Some(error.to_string());
        cause = error.source();
    }
    let message = status.message();
    match deepest.filter(|deepest| !message.contains(deepest.as_str())) {
        Some(deepest) if message.is_empty() => Words(deepest),
        Some(deepest) => Words(format!("{message}: {deepest}")),
        None if message.is_empty() => Words(status.code().to_string()),
        None => Words(message.to_owned()),
    }
}

/// What a failure means. The texts are those of etcd's API.
fn judge(status: Status) -> Fault {
    let message = status.message();
    let says = |text: &str| message.contains(text);
    let final_error = match status.code() {
        Code::OutOfRange if says("compacted") => {
            let unknown = Revision(0);
            Some(StoreError::Compacted { requested: unknown, compacted: unknown })
        }
        Code::OutOfRange if says("future revision") => {
            let unknown = Revision(0);
            Some(StoreError::FutureRevision { requested: unknown, newest: unknown })
        }
        Code::NotFound if says("lease") => Some(StoreError::LeaseNotFound(LeaseId(0))),
        Code::ResourceExhausted if says("space exceeded") => Some(StoreError::NoSpace),
        Code::InvalidArgument => {
            Some(StoreError::InvalidTransaction { reason: message.to_owned() })
        }
        Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => {
            Some(StoreError::engine("be let in by etcd", words(&status)))
        }
        _ => None,
    };
    if let Some(error) = final_error {
        return Fault::Final(error);
    }
    let refused = says("etcdserver: no leader") || says("etcdserver: too many requests");
    if refused || never_connected(&status) { Fault::Undone(status) } else { Fault::Unknown(status) }
}

/// Whether the request never left this machine.
fn never_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let kind = |status: Status| match judge(status) {
            Fault::Final(error) => format!("{error}"),
            Fault::Undone(_) => "undone".to_owned(),
            Fault::Unknown(_) => "unknown".to_owned(),
        };
        let space = Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        assert_eq!(kind(space), "no space left on the device of the store");
        let twice = Status::invalid_argument("etcdserver: duplicate key given in txn request");
        assert!(kind(twice).starts_with("invalid transaction"));
        for (status, expected) in [
            (Status::unavailable("etcdserver: no leader"), "undone"),
            (Status::unavailable("etcdserver: leader changed"), "unknown"),
            (Status::unavailable("etcdserver: request timed out"), "unknown"),
            (Status::unknown("transport error"), "unknown"),
            (undone("connection refused"), "undone"),
            (silent(), "unknown"),
        ] {
            assert_eq!(kind(status.clone()), expected, "{status}");
        }
    }
}
