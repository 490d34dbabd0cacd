//! Listening: TLS, HTTP/1.1 and HTTP/2, one task per connection.

mod gathered;
mod leftover;

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::EXPECT;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::UnixTime;

use self::gathered::{Gathered, drive};
use crate::handle::Connection;
use crate::limits::{
    ACCEPT_RETRY_PAUSE, CONNECTIONS_MAX, HANDSHAKE_MAX, STREAMS_PER_CONNECTION_MAX,
};
use crate::respond::{Answer, BodyError};
use crate::server::Server;

/// Serves until the server's scope ends.
pub async fn serve(server: Arc<Server>, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.scope.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
                server.scope.clone().spawn("connection", async move {
                    serve_connection(server, stream, peer, acceptor).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of file descriptors: give the others a moment to close some.
                server.clock.sleep(ACCEPT_RETRY_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(
    server: Arc<Server>,
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let shown = server.certificates.read(certificates, now(&server));
    let connection = Connection { shown, peer: Some(peer) };
    let scope = server.scope.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (server, connection) = (Arc::clone(&server), connection.clone());
        // Boxed, because whoever spawns it moves it several times, and it is large.
        Box::pin(async move {
            Ok::<_, std::convert::Infallible>(answer(&server, &connection, request).await)
        })
    });
    let stream = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Gathered::new(stream),
        _ => Gathered::passing_through(stream),
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_MAX * 3);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_PER_CONNECTION_MAX);
    let output = stream.handle();
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let until_told = async {
        tokio::pin!(serving);
        tokio::select! {
            result = serving.as_mut() => result,
            () = scope.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    };
    if let Err(error) = drive(until_told, output).await {
        tracing::debug!(error, "connection ended");
    }
}

async fn answer(
    server: &Arc<Server>,
    connection: &Connection,
    request: http::Request<Incoming>,
) -> Answer {
    let (head, body) = request.into_parts();
    // Who waits to be told to send a body has not begun to.
    let may_be_left = !body.is_end_stream() && !head.headers.contains_key(EXPECT);
    let as_body = |error: hyper::Error| BodyError(error.into());
    if !may_be_left {
        let request = http::Request::from_parts(head, body.map_err(as_body).boxed_unsync());
        return server.handle(request, connection).await;
    }
    let (body, leftover) = leftover::lend(body);
    let request = http::Request::from_parts(head, body.map_err(as_body).boxed_unsync());
    let answer = server.handle(request, connection).await;
    leftover.drain().await;
    answer
}

fn now(server: &Server) -> UnixTime {
    let since = server.clock.now().duration_since(jiff::Timestamp::UNIX_EPOCH);
    UnixTime::since_unix_epoch(since.try_into().unwrap_or_default())
}
