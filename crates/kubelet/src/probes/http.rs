//! Requests of probes and hooks. Certificates are not checked: the target is known by its address.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use podlife::probe::Outcome;
use tokio::net::TcpStream;

use super::{redirect, target, tcp};
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
    #[error("{0}")]
    Body(String),
}

impl HttpError {
    /// As upstream sees it: no answer is a failure, one that breaks off is an error.
    fn outcome(&self) -> Outcome {
        match self {
            Self::Failed { .. } => Outcome::Failure(self.to_string()),
            Self::Body(_) => Outcome::Errored { state: "failure", error: self.to_string() },
            Self::Port(_) | Self::Invalid(_) => Outcome::unknown(self.to_string()),
        }
    }
}

/// What to ask.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
}

/// An answer with the beginning of its body.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    /// Where it sends its reader.
    fn redirection(&self) -> Option<&str> {
        let redirects = matches!(self.status, 301 | 302 | 303 | 307 | 308);
        self.location.as_deref().filter(|location| redirects && !location.is_empty())
    }

    fn outcome(&self) -> Outcome {
        match self.status {
            200..=299 => Outcome::Success,
            // Somebody answers; what is behind the redirect is not the container's.
            300..=399 => {
                let body = String::from_utf8_lossy(&self.body);
                Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
            }
            status => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
        }
    }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is no answer.
    #[default]
    Asking,
    /// The answer's body is being read.
    Reading,
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
        target::authority(&self.host, self.port)
    }

    /// The whole address.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    pub(super) fn failed(&self, reason: impl std::fmt::Display) -> HttpError {
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
pub(crate) async fn send(request: &Request, progress: &mut Progress) -> Result<Answer, HttpError> {
    let address = (request.host.as_str(), request.port);
    let stream = TcpStream::connect(address).await.map_err(|error| {
        request.failed(format!("dial tcp {}: {}", request.authority(), tcp::describe(&error)))
    })?;
    if !request.tls {
        return exchange(request, TokioIo::new(stream), progress).await;
    }
    let name = rustls::pki_types::ServerName::try_from(request.host.clone())
        .map_err(|error| request.failed(error))?;
    let connector = tokio_rustls::TlsConnector::from(unchecked_tls());
    let stream = connector.connect(name, stream).await.map_err(|error| request.failed(error))?;
    exchange(request, TokioIo::new(stream), progress).await
}

async fn exchange<I>(request: &Request, io: I, progress: &mut Progress) -> Result<Answer, HttpError>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send,
{
    let built = request.build()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|error| request.failed(error))?;
    let answer = async {
        let response =
            sender.send_request(built).await.map_err(|error| request.failed(describe(&error)))?;
        *progress = Progress::Reading;
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION).and_then(|it| it.to_str().ok());
        let location = location.map(str::to_owned);
        let body = beginning(response.into_body()).await?;
        Ok(Answer { status, location, body })
    };
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(request.failed(describe(&error))),
        },
    }
}

/// The beginning of a body; what is longer is cut off.
async fn beginning(mut incoming: hyper::body::Incoming) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    while body.len() < PROBE_BODY_BYTES_MAX
        && let Some(frame) = incoming.frame().await
    {
        let frame = frame.map_err(|error| HttpError::Body(describe(&error)))?;
        body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    body.truncate(PROBE_BODY_BYTES_MAX);
    Ok(body)
}

/// A broken exchange as Go words it.
fn describe(error: &hyper::Error) -> String {
    use std::error::Error as _;
    let cause = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    if error.is_incomplete_message() {
        "EOF".to_owned()
    } else if cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::UnexpectedEof) {
        "unexpected EOF".to_owned()
    } else {
        cri::error::chain(error)
    }
}

/// Asks and follows redirects within the host, for as long as `limit`.
pub(crate) async fn probe(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
    limit: Duration,
) -> Outcome {
    let request = match Request::of(action, container, pod_ip) {
        Ok(request) => request,
        Err(error) => return error.outcome(),
    };
    let mut visit = Visit { request, progress: Progress::Asking };
    let answer = match tokio::time::timeout(limit, visit.run()).await {
        Ok(answer) => answer,
        Err(_) => Err(visit.timed_out()),
    };
    answer.map_or_else(|error| error.outcome(), |answer| answer.outcome())
}

/// A way from redirect to redirect.
struct Visit {
    request: Request,
    progress: Progress,
}

impl Visit {
    async fn run(&mut self) -> Result<Answer, HttpError> {
        let mut location = String::new();
        for _ in 0..PROBE_REDIRECTS_MAX {
            self.progress = Progress::Asking;
            let answer = send(&self.request, &mut self.progress).await?;
            let Some(next) = answer.redirection() else { return Ok(answer) };
            match redirect::follow(&self.request, next)? {
                Some(request) => self.request = request,
                None => return Ok(answer),
            }
            next.clone_into(&mut location);
        }
        let reason = format!("stopped after {PROBE_REDIRECTS_MAX} redirects");
        Err(HttpError::Failed { url: location, reason })
    }

    fn timed_out(&self) -> HttpError {
        let text = "context deadline exceeded (Client.Timeout";
        match self.progress {
            Progress::Asking => {
                self.request.failed(format!("{text} exceeded while awaiting headers)"))
            }
            Progress::Reading => {
                HttpError::Body(format!("{text} or context cancellation while reading body)"))
            }
        }
    }
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

    /// What becomes of a probe of a server that gives these answers, one for each connection.
    async fn ask(answers: &[&str]) -> Outcome {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                let _read = stream.read(&mut buffer).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        };
        let action: HTTPGetAction =
            serde_json::from_value(serde_json::json!({"port": port, "path": "/x"})).unwrap();
        let (container, limit) = (Container::default(), Duration::from_secs(60));
        let outcome = tokio::join!(probe(&action, &container, "127.0.0.1", limit), server).0;
        let own = format!("127.0.0.1:{port}");
        match outcome {
            Outcome::Failure(text) => Outcome::Failure(text.replace(&own, "OWN")),
            outcome => outcome,
        }
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn statuses_decide() {
        assert_eq!(ask(&[&answer("200 OK", "ok")]).await, Outcome::Success);
        let failure = Outcome::Failure("HTTP probe failed with statuscode: 500".to_owned());
        assert_eq!(ask(&[&answer("500 No", "")]).await, failure);
        let broken = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
        let errored = Outcome::Errored { state: "failure", error: "unexpected EOF".to_owned() };
        assert_eq!(ask(&[broken]).await, errored);
        let nothing = Outcome::Failure("Get \"http://OWN/x\": EOF".to_owned());
        assert_eq!(ask(&[""]).await, nothing);
    }

    #[tokio::test]
    async fn redirects_are_followed_within_the_host_and_told_beyond() {
        let warning = |body: &str| {
            Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
        };
        let body = "<a href=\"http://0.0.0.0/\">Found</a>.\n\n";
        let elsewhere = answer("302 Found\r\nLocation: http://0.0.0.0/", body);
        assert_eq!(ask(&[&elsewhere]).await, warning(body));
        let within = answer("301 Moved\r\nLocation: /y", "");
        assert_eq!(ask(&[&within, &answer("204 No Content", "")]).await, Outcome::Success);
        assert_eq!(ask(&[&within, &elsewhere]).await, warning(body));
        assert_eq!(ask(&[&answer("304 Not Modified", "")]).await, warning(""));
        assert_eq!(ask(&[&answer("302 Found", "where?")]).await, warning("where?"));
        let round = Outcome::Failure("Get \"/y\": stopped after 10 redirects".to_owned());
        assert_eq!(ask(&[within.as_str(); 10]).await, round);
    }

    /// Where time stands still, what nobody answers takes as long as it may.
    #[tokio::test(start_paused = true)]
    async fn time_runs_out() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let action: HTTPGetAction =
            serde_json::from_value(serde_json::json!({"port": port})).unwrap();
        let limit = Duration::from_secs(60);
        let outcome = probe(&action, &Container::default(), "127.0.0.1", limit).await;
        let text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        let expected = format!("Get \"http://127.0.0.1:{port}/\": {text}");
        assert_eq!(outcome, Outcome::Failure(expected));
    }
}
