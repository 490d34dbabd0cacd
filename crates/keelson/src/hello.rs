//! `keelson hello`: a small web server that says which pod answers, so that an example needs no image but ours.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

/// Connections served at a time; others wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may last.
const CONNECTION_MAX: Duration = Duration::from_secs(60);

/// `keelson hello`.
#[derive(Debug, Args)]
pub(crate) struct HelloArguments {
    /// Port to listen on
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

/// Serves until a signal ends it.
///
/// # Errors
/// The port cannot be had.
pub(crate) async fn run(arguments: HelloArguments) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, arguments.port));
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    // As the first process of its container it must ask for signals, or the kernel drops them.
    let mut terminate = signal(SignalKind::terminate()).context("wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for signals")?;
    let pod = pod_name()?;
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = Arc::clone(&free).acquire_owned().await.context("wait for a free place")?;
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.context("accept a connection")?.0,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        let pod = pod.clone();
        tokio::spawn(async move {
            // A client that goes away or stalls is its own affair.
            let _ended = tokio::time::timeout(CONNECTION_MAX, serve(stream, &pod)).await;
            drop(permit);
        });
    }
}

/// The name that the pod's host has, which is the pod's own.
fn pod_name() -> anyhow::Result<String> {
    std::env::var("POD_NAME").or_else(|_| crate::network::host_name())
}

async fn serve(stream: TcpStream, pod: &str) -> Result<(), hyper::Error> {
    let answer = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(answer(request.uri().path(), pod))
    });
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await
}

fn answer(path: &str, pod: &str) -> Response<Full<Bytes>> {
    let (status, text) = match path {
        "/" => (200, format!("Hello from pod {pod}.\n")),
        "/healthz" => (200, "ok\n".to_owned()),
        "/hostname" => (200, pod.to_owned()),
        _ => (404, "not found\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    if let Ok(status) = hyper::StatusCode::from_u16(status) {
        *response.status_mut() = status;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_the_right_codes() {
        for (path, status) in [("/", 200), ("/healthz", 200), ("/hostname", 200), ("/other", 404)] {
            assert_eq!(answer(path, "p").status(), status, "{path}");
        }
    }
}
