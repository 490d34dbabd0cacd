//! The yardstick: a program of its own that only writes bytes over TLS and HTTP/2, as a list or as watches would
//! have them. What a server reaches of its rate is what the server adds to the cost of sending.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::raw::Target;

pub(crate) const LIST: &str = "/list";
pub(crate) const WATCH: &str = "/watch";
/// Bytes of the pieces that a list is sent in.
const PIECE: usize = 64 << 10;

/// What the program is asked to send.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct BareArguments {
    /// Bytes of a list
    #[arg(long)]
    list: usize,
    /// Bytes of an event
    #[arg(long)]
    event: usize,
    /// Events of a watch
    #[arg(long)]
    events: usize,
}

/// The running program; dropping it ends it.
pub(crate) struct Sender {
    child: Child,
    target: Target,
}

impl Sender {
    /// Starts this program again as a sender.
    pub(crate) fn start(list: usize, event: usize, events: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("bare-sender")
            .args(["--list", &list.to_string(), "--event", &event.to_string()])
            .args(["--events", &events.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .context("start the bare sender")?;
        let output = child.stdout.take().context("its output")?;
        let mut lines = BufReader::new(output).lines();
        let mut line = || lines.next().context("the bare sender ended")?.context("its output");
        let authority = line()?.parse().context("the bare sender's address")?;
        let certificate = hex::decode(line()?).context("the bare sender's certificate")?;
        let target = Target::with_certificate(authority, CertificateDer::from(certificate))?;
        Ok(Self { child, target })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // It may have ended by itself; then it is only waited for.
        let _already = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Serves until it is killed.
pub(crate) async fn serve(arguments: BareArguments) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    crate::print(&listener.local_addr()?.to_string());
    crate::print(&hex::encode(made.cert.der()));
    let bodies = Bodies::new(arguments);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (acceptor, bodies) = (acceptor.clone(), bodies.clone());
        tokio::spawn(async move {
            let tls = acceptor.accept(socket).await?;
            let service = service_fn(move |request: Request<_>| {
                let body = bodies.of(request.uri().path());
                async move { body.map(Response::new) }
            });
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(2000)
                .serve_connection(TokioIo::new(tls), service)
                .await?;
            anyhow::Ok(())
        });
    }
}

#[derive(Clone)]
struct Bodies {
    list: Bytes,
    event: Bytes,
    events: usize,
}

impl Bodies {
    fn new(arguments: BareArguments) -> Self {
        // As long as an event and with the mark that a watcher looks for.
        let mut event = format!("{{\"sent\":\"{:020}\"}}", 0).into_bytes();
        event.resize(arguments.event.max(event.len() + 1) - 1, b' ');
        event.push(b'\n');
        Self {
            list: vec![b'x'; arguments.list].into(),
            event: event.into(),
            events: arguments.events,
        }
    }

    fn of(&self, path: &str) -> Result<BoxBody<Bytes, std::convert::Infallible>> {
        match path {
            LIST => {
                let list = self.list.clone();
                let pieces = (0..list.len().div_ceil(PIECE)).map(move |at| {
                    Ok(Frame::data(list.slice(at * PIECE..((at + 1) * PIECE).min(list.len()))))
                });
                Ok(StreamBody::new(stream::iter(pieces)).boxed())
            }
            WATCH => {
                let event = self.event.clone();
                let frames = (0..self.events).map(move |_| Ok(Frame::data(event.clone())));
                Ok(StreamBody::new(stream::iter(frames)).boxed())
            }
            other => bail!("no {other} here"),
        }
    }
}
