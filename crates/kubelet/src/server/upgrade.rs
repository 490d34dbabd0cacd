//! Sessions over SPDY: the client opens one stream for each purpose, named by its headers.

use std::collections::HashMap;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::RequestError;
use super::session::{ClientStreams, Session, StreamOptions, Target};
use super::spdy::{self, Stream};
use crate::Kubelet;

const PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const EXEC_PROTOCOLS: [&str; 1] = ["v4.channel.k8s.io"];
const FORWARD_PROTOCOLS: [&str; 1] = ["portforward.k8s.io"];
/// How long a client may take to open the streams that it has announced.
const STREAMS_WAIT_MAX: Duration = Duration::from_secs(30);

/// Whether the client asks for SPDY.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    let value = headers.get(UPGRADE).and_then(|it| it.to_str().ok());
    value.is_some_and(|it| it.eq_ignore_ascii_case("SPDY/3.1"))
}

fn agree(
    request: &mut Request<Incoming>,
    supported: &[&'static str],
) -> Result<(Response<()>, hyper::upgrade::OnUpgrade), RequestError> {
    let offered = request.headers().get_all(PROTOCOL).iter().filter_map(|it| it.to_str().ok());
    let offered: Vec<&str> = offered.flat_map(|it| it.split(',').map(str::trim)).collect();
    let chosen = supported.iter().find(|it| offered.contains(*it)).ok_or_else(|| {
        let text = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {supported:?}"
        );
        RequestError::new(StatusCode::FORBIDDEN, text)
    })?;
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "SPDY/3.1")
        .header(PROTOCOL, *chosen)
        .body(())
        .map_err(|error| RequestError::bad(error.to_string()))?;
    Ok((response, hyper::upgrade::on(request)))
}

async fn connection(
    upgrade: hyper::upgrade::OnUpgrade,
) -> Option<TokioIo<hyper::upgrade::Upgraded>> {
    match upgrade.await {
        Ok(upgraded) => Some(TokioIo::new(upgraded)),
        Err(error) => {
            tracing::debug!(%error, "a client did not go on to SPDY");
            None
        }
    }
}

/// Goes on to SPDY and joins the client with a session.
pub(super) fn join(
    kubelet: &Kubelet,
    mut request: Request<Incoming>,
    session: Session,
    options: StreamOptions,
) -> Result<Response<()>, RequestError> {
    let (response, upgrade) = agree(&mut request, &EXEC_PROTOCOLS)?;
    let scope = kubelet.shared.scope.clone();
    kubelet.shared.scope.spawn_until_cancelled("SPDY session", async move {
        let Some(io) = connection(upgrade).await else { return };
        let mut streams = spdy::serve(&scope, io);
        let opened = tokio::time::timeout(STREAMS_WAIT_MAX, client_streams(&mut streams, &options));
        let Ok(Some(client)) = opened.await else {
            tracing::debug!("a client did not open the streams that it announced");
            return;
        };
        session.join(client, gone(&mut streams)).await;
    });
    Ok(response)
}

/// Resolves when the connection ends; streams beyond those expected are dropped.
async fn gone(streams: &mut mpsc::Receiver<Stream>) {
    while streams.recv().await.is_some() {}
}

async fn client_streams(
    streams: &mut mpsc::Receiver<Stream>,
    options: &StreamOptions,
) -> Option<ClientStreams> {
    let mut expected = vec!["error"];
    let wanted = [
        ("stdin", options.stdin),
        ("stdout", options.stdout),
        ("stderr", options.stderr && !options.tty),
        ("resize", options.tty),
    ];
    expected.extend(wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name));
    let mut opened: HashMap<String, Stream> = HashMap::new();
    while !expected.iter().all(|name| opened.contains_key(*name)) {
        let stream = streams.recv().await?;
        opened.insert(stream.header("streamtype").to_owned(), stream);
    }
    let mut take = |name: &str| opened.remove(name).map(|stream| stream.io);
    Some(ClientStreams {
        stdin: take("stdin").map(|io| -> cri::BoxRead { Box::pin(io) }),
        stdout: take("stdout").map(|io| -> cri::BoxWrite { Box::pin(io) }),
        stderr: take("stderr").map(|io| -> cri::BoxWrite { Box::pin(io) }),
        resize: take("resize").map(|io| -> cri::BoxRead { Box::pin(io) }),
        error: Box::pin(take("error")?),
    })
}

/// Goes on to SPDY and forwards the ports that the client asks for.
pub(super) fn forward(
    kubelet: &Kubelet,
    mut request: Request<Incoming>,
    target: Target,
) -> Result<Response<()>, RequestError> {
    let (response, upgrade) = agree(&mut request, &FORWARD_PROTOCOLS)?;
    let kubelet = kubelet.clone();
    let scope = kubelet.shared.scope.clone();
    scope.spawn_until_cancelled("SPDY port forward", async move {
        if let Some(io) = connection(upgrade).await {
            forward_streams(&kubelet, target, io).await;
        }
    });
    Ok(response)
}

/// Forwards ports for a client that speaks SPDY on `io`, until it leaves. Each connection is a pair of
/// streams, one for errors and one for data, that share a request number.
pub(super) async fn forward_streams<I>(kubelet: &Kubelet, target: Target, io: I)
where
    I: AsyncRead + AsyncWrite + Send + 'static,
{
    let scope = kubelet.shared.scope.child();
    let _ends_with_this = CancelOnDrop(scope.clone());
    let mut streams = spdy::serve(&scope, io);
    let mut halves: HashMap<String, Stream> = HashMap::new();
    while let Some(stream) = streams.recv().await {
        let key = format!("{}/{}", stream.header("requestid"), stream.header("port"));
        let Some(other) = halves.remove(&key) else {
            if halves.len() < crate::limits::SPDY_STREAMS_MAX {
                halves.insert(key, stream);
            }
            continue;
        };
        let is_data = stream.header("streamtype") == "data";
        let (data, error) = if is_data { (stream, other) } else { (other, stream) };
        let (kubelet, target) = (kubelet.clone(), target.clone());
        scope.spawn_until_cancelled("forwarded connection", async move {
            forward_one(&kubelet, &target, data, error).await;
        });
    }
}

/// Ends the tasks of a connection with it, also when it is given up in the middle.
struct CancelOnDrop(task::Scope);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

async fn forward_one(kubelet: &Kubelet, target: &Target, data: Stream, mut error: Stream) {
    let port = data.header("port").to_owned();
    let connected = match port.parse() {
        Ok(number) => kubelet.port_forward(target, number).await,
        Err(_) => Err(RequestError::bad(format!("unable to parse \"{port}\" as a port"))),
    };
    let mut io = data.io;
    match connected {
        Ok(mut connected) => {
            if let Err(broken) = tokio::io::copy_bidirectional(&mut io, &mut connected).await {
                tracing::debug!(error = %broken, port, "a forwarded connection broke");
            }
        }
        Err(refused) => {
            let uid = &target.uid;
            let text = format!(
                "error forwarding port {port} to pod {}, uid : {uid}: {refused}",
                target.pod
            );
            // A client that is gone does not read why.
            let _gone = error.io.write_all(text.as_bytes()).await;
        }
    }
    let _gone = error.io.shutdown().await;
    let _gone = io.shutdown().await;
}
