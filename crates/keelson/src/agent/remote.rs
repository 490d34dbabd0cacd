//! Clients of a server on another machine, over TLS with a certificate that may be renewed meanwhile.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use http::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;

use crate::renewal::Shown;
use crate::serving::client_tls;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long an unused connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// A connection that does not answer to a ping for this long is dead.
const PING_MAX: Duration = Duration::from_secs(15);

type Transport = legacy::Client<HttpsConnector<HttpConnector>, Body>;

/// The way to the API server, and the word that is said with every request where there is no certificate.
#[derive(Clone)]
struct Remote {
    transport: Transport,
    server: Uri,
    bearer: Option<HeaderValue>,
    /// Which component it is: whoever writes owns fields under this name.
    agent: HeaderValue,
}

/// A client of `server`, which the authorities in `authority_pem` vouch for, under the certificate that is
/// shown, or under a bearer token. `agent` is the component's name.
///
/// # Errors
/// An authority cannot be read.
pub(crate) fn client(
    server: &Uri,
    authority_pem: &str,
    shown: Arc<Shown>,
    token: Option<&str>,
    agent: &'static str,
) -> anyhow::Result<kube::Client> {
    let tls = client_tls(crate::pki::roots(authority_pem)?, shown)?;
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    plain.set_nodelay(true);
    plain.set_connect_timeout(Some(CONNECT_MAX));
    plain.set_keepalive(Some(PING_MAX));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_all_versions()
        .wrap_connector(plain);
    let transport = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_MAX)
        .http2_keep_alive_interval(PING_MAX)
        .http2_keep_alive_timeout(PING_MAX)
        .http2_keep_alive_while_idle(true)
        .build(connector);
    let bearer = token.map(|token| HeaderValue::try_from(format!("Bearer {token}"))).transpose();
    let mut bearer = bearer.context("the token has characters that no header may have")?;
    if let Some(value) = &mut bearer {
        value.set_sensitive(true);
    }
    let agent = HeaderValue::from_static(agent);
    let remote = Remote { transport, server: server.clone(), bearer, agent };
    Ok(kube::Client::new(remote, "default"))
}

impl tower::Service<Request<Body>> for Remote {
    type Response = Response<Incoming>;
    type Error = legacy::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = self.server.scheme().cloned();
        parts.authority = self.server.authority().cloned();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        request.headers_mut().insert(USER_AGENT, self.agent.clone());
        if let Some(bearer) = &self.bearer {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        }
        Box::pin(self.transport.request(request))
    }
}
