//! What the kubelet answers to the API server: logs, commands, forwarded ports, statistics.
//!
//! The sessions themselves ([`session`]) know nothing of any framing: WebSocket and SPDY carry them, and
//! whoever holds a [`crate::Kubelet`] can carry them otherwise.

pub mod access;
#[doc(hidden)]
pub mod fuzzing;
mod metrics;
mod node_logs;
mod route;
pub mod session;
mod spdy;
mod stats;
mod upgrade;
mod websocket;

use std::sync::Arc;

use http::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::Kubelet;
use crate::limits::CONNECTIONS_MAX;
use access::{Access, Caller};

pub use crate::logs::read::{LogOptions, LogStream};
#[cfg(test)]
pub(crate) use spdy::tests::Client as SpdyClient;

/// A request that is refused: a status code and a text for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// HTTP status code.
    pub status: StatusCode,
    /// Why.
    pub message: String,
}

impl RequestError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn internal(error: &cri::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.rpc_text())
    }
}

impl Kubelet {
    /// Serves HTTP on one connection whose other end is trusted (the API server of the same process),
    /// until it closes.
    pub async fn serve_connection<I>(&self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.serve(io, Arc::new(access::Trusted), Caller::default()).await;
    }

    /// Serves HTTPS on `listener` until the kubelet's scope ends. `access` decides who may do what.
    pub async fn serve_tls(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        access: Arc<dyn Access>,
    ) {
        let acceptor = TlsAcceptor::from(tls);
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    self.shared.clock.sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (kubelet, acceptor) = (self.clone(), acceptor.clone());
            let access = Arc::clone(&access);
            self.shared.scope.spawn_until_cancelled("kubelet connection", async move {
                let _slot = slot;
                let limit = crate::limits::HANDSHAKE_MAX;
                let Ok(Ok(stream)) = tokio::time::timeout(limit, acceptor.accept(stream)).await
                else {
                    return;
                };
                let certificates = stream.get_ref().1.peer_certificates();
                let caller = Caller {
                    certificate: certificates.and_then(|it| it.first()).map(|it| it.to_vec()),
                    bearer: None,
                };
                kubelet.serve(stream, access, caller).await;
            });
        }
    }

    async fn serve<I>(&self, io: I, access: Arc<dyn Access>, caller: Caller)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| {
            let (kubelet, access) = (self.clone(), Arc::clone(&access));
            let caller = caller.clone();
            async move {
                Ok::<_, std::convert::Infallible>(
                    route::answer(kubelet, access, caller, request).await,
                )
            }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a connection to the kubelet ended");
        }
    }
}
