//! A client that costs little: HTTP/2 over TLS on a few connections, bodies as bytes, answers counted and thrown
//! away. It shares the processors with the server that is measured, so what it takes is missing there.

use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::http::uri::Authority;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::ConfigExt as _;
use rustls::pki_types::{CertificateDer, ServerName};
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What one stream and one connection may have under way, in bytes: never the brake.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
/// Concurrent streams on a connection before the server has said how many it allows.
const STREAMS: usize = 1000;

/// Where a server is and how it is spoken to.
#[derive(Clone)]
pub(crate) struct Target {
    authority: Authority,
    tls: Arc<rustls::ClientConfig>,
    token: Option<String>,
}

impl Target {
    /// The server of a kubeconfig, with a client certificate or a token.
    pub(crate) fn of(config: &kube::Config) -> Result<Self> {
        let authority = config.cluster_url.authority().context("the server has no address")?;
        let mut tls = config.rustls_client_config().context("TLS of the kubeconfig")?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let token = config.auth_info.token.as_ref();
        let token = token.map(|it| it.expose_secret().to_owned());
        Ok(Self { authority: authority.clone(), tls: Arc::new(tls), token })
    }

    /// A server with a certificate of its own making.
    pub(crate) fn with_certificate(
        authority: Authority,
        certificate: CertificateDer<'static>,
    ) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate)?;
        let mut tls =
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { authority, tls: Arc::new(tls), token: None })
    }
}

/// Connections that take turns.
pub(crate) struct Raw {
    connections: Vec<SendRequest<Full<Bytes>>>,
    next: AtomicUsize,
    authority: Authority,
    token: Option<String>,
}

impl Raw {
    pub(crate) async fn connect(target: &Target, connections: usize) -> Result<Self> {
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            open.push(connect(target).await?);
        }
        Ok(Self {
            connections: open,
            next: AtomicUsize::new(0),
            authority: target.authority.clone(),
            token: target.token.clone(),
        })
    }

    /// Sends a request and answers with the body as it comes. Anything but success is an error.
    pub(crate) async fn stream(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Incoming> {
        let uri = format!("https://{}{path}", self.authority);
        let mut request = Request::builder().method(method.clone()).uri(uri);
        request = request.header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let bytes = match body {
            Some((kind, bytes)) => {
                request = request.header(CONTENT_TYPE, kind);
                bytes
            }
            None => Bytes::new(),
        };
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let mut connection = self.connections[turn].clone();
        connection.ready().await?;
        let answer = connection.send_request(request.body(Full::new(bytes))?).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let text = answer.into_body().collect().await?.to_bytes();
        bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&text));
    }

    /// Sends a request, waits for the whole answer, and says how long that was in bytes.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<usize> {
        let mut body = self.stream(method, path, body).await?;
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }
}

async fn connect(target: &Target) -> Result<SendRequest<Full<Bytes>>> {
    let host = target.authority.host().trim_matches(['[', ']']);
    let port = target.authority.port_u16().unwrap_or(443);
    let address = (host, port).to_socket_addrs()?.next().context("no such host")?;
    let socket = TcpStream::connect(address).await.context("connect")?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned()).context("the host's name")?;
    let tls = TlsConnector::from(Arc::clone(&target.tls)).connect(name, socket).await?;
    ensure!(tls.get_ref().1.alpn_protocol() == Some(b"h2"), "the server does not speak HTTP/2");
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(STREAMS)
        .handshake(TokioIo::new(tls))
        .await?;
    tokio::spawn(async move {
        // Whoever has a request under way is told; without one, nobody misses the connection.
        let _ended = connection.await;
    });
    Ok(sender)
}
