//! Requests of probes and hooks. Certificates are not checked: the target is known by its address.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use tokio::net::TcpStream;

use super::{Outcome, target, tcp};
use crate::limits::{PROBE_BODY_BYTES_MAX, PROBE_REDIRECTS_MAX};

/// A request that cannot be made or has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error(transparent)]
    Port(#[from] target::PortError),
    #[error("invalid request: {0}")]
    Invalid(String),
    #[error("Get \"{url}\": {reason}")]
    Failed { url: String, reason: String },
}

/// What to ask.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    tls: bool,
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
}

/// An answer, of which the body was read and dropped.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    location: Option<String>,
}

impl Request {
    /// The request that an action asks for.
    pub(crate) fn of(
        action: &HTTPGetAction,
        container: &Container,
        pod_ip: &str,
    ) -> Result<Self, HttpError> {
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
        let path = action.path.as_deref().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self {
            tls: action.scheme.as_deref().is_some_and(|it| it.eq_ignore_ascii_case("https")),
            host: host.to_owned(),
            port: target::port(&action.port, container)?,
            path,
            headers: action
                .http_headers
                .iter()
                .flatten()
                .map(|header| (header.name.clone(), header.value.clone()))
                .collect(),
        })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The whole address.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    fn failed(&self, reason: impl std::fmt::Display) -> HttpError {
        HttpError::Failed { url: self.url(), reason: reason.to_string() }
    }

    fn build(&self) -> Result<http::Request<Empty<Bytes>>, HttpError> {
        let invalid = |error: &dyn std::fmt::Display| HttpError::Invalid(error.to_string());
        let mut request =
            http::Request::get(&self.path).body(Empty::new()).map_err(|error| invalid(&error))?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static("kube-probe/1.37"));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let host = HeaderValue::from_str(&self.authority()).map_err(|error| invalid(&error))?;
        headers.insert(HOST, host);
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| invalid(&error))?;
            let value = HeaderValue::from_str(value).map_err(|error| invalid(&error))?;
            if name == HOST || name == USER_AGENT || name == ACCEPT {
                headers.insert(name, value);
            } else {
                headers.append(name, value);
            }
        }
        Ok(request)
    }
}

/// Asks once; an answer of any status is one.
pub(crate) async fn send(request: &Request) -> Result<Answer, HttpError> {
    let address = (request.host.as_str(), request.port);
    let stream = TcpStream::connect(address).await.map_err(|error| {
        request.failed(format!("dial tcp {}: {}", request.authority(), tcp::describe(&error)))
    })?;
    if !request.tls {
        return exchange(request, TokioIo::new(stream)).await;
    }
    let name = rustls::pki_types::ServerName::try_from(request.host.clone())
        .map_err(|error| request.failed(error))?;
    let connector = tokio_rustls::TlsConnector::from(unchecked_tls());
    let stream = connector.connect(name, stream).await.map_err(|error| request.failed(error))?;
    exchange(request, TokioIo::new(stream)).await
}

async fn exchange<I>(request: &Request, io: I) -> Result<Answer, HttpError>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send,
{
    let built = request.build()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|error| request.failed(error))?;
    let answer = async {
        let response = sender.send_request(built).await.map_err(|error| request.failed(error))?;
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION).and_then(|it| it.to_str().ok());
        let location = location.map(str::to_owned);
        let mut read = 0;
        let mut incoming = response.into_body();
        while read < PROBE_BODY_BYTES_MAX
            && let Some(frame) = incoming.frame().await
        {
            let frame = frame.map_err(|error| request.failed(error))?;
            read += frame.data_ref().map_or(0, Bytes::len);
        }
        Ok(Answer { status, location })
    };
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(request.failed(error)),
        },
    }
}

/// Asks and follows redirects within the host.
pub(crate) async fn probe(action: &HTTPGetAction, container: &Container, pod_ip: &str) -> Outcome {
    let mut request = match Request::of(action, container, pod_ip) {
        Ok(request) => request,
        Err(error) => return Outcome::Unknown(error.to_string()),
    };
    for _ in 0..PROBE_REDIRECTS_MAX {
        let answer = match send(&request).await {
            Ok(answer) => answer,
            Err(error @ HttpError::Failed { .. }) => return Outcome::Failure(error.to_string()),
            Err(error) => return Outcome::Unknown(error.to_string()),
        };
        match (answer.status, &answer.location) {
            (301 | 302 | 303 | 307 | 308, Some(location)) => match redirected(&request, location) {
                Some(next) => request = next,
                // Elsewhere: that it answers at all is enough.
                None => return Outcome::Success,
            },
            (200..=399, _) => return Outcome::Success,
            (status, _) => {
                return Outcome::Failure(format!("HTTP probe failed with statuscode: {status}"));
            }
        }
    }
    Outcome::Failure(format!(
        "Get \"{}\": stopped after {PROBE_REDIRECTS_MAX} redirects",
        request.url()
    ))
}

fn redirected(request: &Request, location: &str) -> Option<Request> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(Request { path: location.to_owned(), ..request.clone() });
    }
    let uri: http::Uri = location.parse().ok()?;
    if uri.host()? != request.host {
        return None;
    }
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    Some(Request { tls, port, path, ..request.clone() })
}

#[derive(Debug)]
struct AcceptAll(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _end_entity: &rustls::pki_types::CertificateDer<'_>,
        _intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn unchecked_tls() -> Arc<rustls::ClientConfig> {
    static CONFIG: std::sync::LazyLock<Arc<rustls::ClientConfig>> =
        std::sync::LazyLock::new(|| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .expect("the provider has cipher suites for both versions")
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAll(provider)))
                .with_no_client_auth();
            Arc::new(config)
        });
    Arc::clone(&CONFIG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn ask(answer: &'static str) -> Outcome {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let _read = stream.read(&mut buffer).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let action: HTTPGetAction =
            serde_json::from_value(serde_json::json!({"port": port, "path": "/x"})).unwrap();
        let container = Container::default();
        tokio::join!(probe(&action, &container, "127.0.0.1"), server).0
    }

    #[tokio::test]
    async fn statuses_decide() {
        assert_eq!(ask("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await, Outcome::Success);
        let elsewhere =
            "HTTP/1.1 302 Found\r\nLocation: http://else.where/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(ask(elsewhere).await, Outcome::Success);
        let failure = "HTTP probe failed with statuscode: 500".to_owned();
        let answer = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(ask(answer).await, Outcome::Failure(failure));
    }
}
