//! One server behind the aggregation layer: where it is, how it is trusted, and how it is spoken to.

use std::sync::Arc;
use std::time::Duration;

use admission::User;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderValue};
use http::{HeaderMap, HeaderName, Request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::handle::text;
use crate::limits::{AGGREGATED_DIAL_MAX, AGGREGATED_DOCUMENT_BYTES_MAX};
use crate::server::Server;

/// See the module's text.
pub(crate) struct Backend {
    /// Name of its object.
    pub(super) name: String,
    pub(super) group: String,
    pub(super) version: String,
    /// The object's `spec`, to tell whether it changed.
    pub(super) spec: Value,
    pub(super) available: bool,
    /// Why it cannot be reached at all stands in place of the way.
    tls: Result<Arc<rustls::ClientConfig>, String>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Backend({})", self.name)
    }
}

/// The answer to a short question.
pub(super) struct Fetched {
    pub(super) code: u16,
    pub(super) body: Bytes,
}

impl Backend {
    /// Reads an `APIService`; `None` where this server itself serves the group.
    pub(super) fn of(server: &Server, object: &Value, known: Option<&Arc<Self>>) -> Option<Self> {
        let spec = object.get("spec")?;
        spec.get("service").filter(|service| service.is_object())?;
        let known = known.filter(|known| known.spec == *spec);
        Some(Self {
            name: api::meta::name(object).to_owned(),
            group: text(spec, "/group").to_owned(),
            version: text(spec, "/version").to_owned(),
            available: super::availability::is_available(object),
            tls: known.map_or_else(|| tls(server, spec), |known| known.tls.clone()),
            spec: spec.clone(),
        })
    }

    /// Namespace, name and port of the Service in front of it.
    pub(super) fn service(&self) -> (&str, &str, u16) {
        let port = self.spec.pointer("/service/port").and_then(Value::as_u64).unwrap_or(443);
        let port = u16::try_from(port).unwrap_or(443);
        (text(&self.spec, "/service/namespace"), text(&self.spec, "/service/name"), port)
    }

    /// Priority of its group and, within that, of its version.
    pub(super) fn priorities(&self) -> (i64, i64) {
        let number = |field: &str| self.spec.get(field).and_then(Value::as_i64).unwrap_or(0);
        (number("groupPriorityMinimum"), number("versionPriority"))
    }

    /// The path under which it tells what it serves.
    pub(super) fn root(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }

    /// The name that its certificate must be for.
    pub(super) fn host(&self) -> String {
        let (namespace, name, _) = self.service();
        format!("{name}.{namespace}.svc")
    }

    /// Where its Service is to be reached: the cluster address, which every node balances.
    ///
    /// # Errors
    /// There is no such Service, or it has no address.
    pub(super) fn address(&self, server: &Server) -> Result<String, String> {
        let (namespace, name, port) = self.service();
        let service = server.caches.place("", "services").get(namespace, name);
        let service = service.ok_or_else(|| format!("service \"{name}\" not found"))?.to_value();
        let host = match text(&service, "/spec/type") {
            "ExternalName" => text(&service, "/spec/externalName"),
            _ => text(&service, "/spec/clusterIP"),
        };
        match host {
            "" | "None" => Err(format!("service \"{name}\" has no cluster address")),
            host if host.contains(':') => Ok(format!("[{host}]:{port}")),
            host => Ok(format!("{host}:{port}")),
        }
    }

    /// A connection.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(super) async fn dial(&self, server: &Server) -> Result<TlsStream<TcpStream>, String> {
        let tls = self.tls.clone()?;
        let address = self.address(server)?;
        let connecting = async {
            let stream = TcpStream::connect(&address)
                .await
                .map_err(|error| format!("dial tcp {address}: {error}"))?;
            let name = ServerName::try_from(self.host()).map_err(|error| error.to_string())?;
            let connector = tokio_rustls::TlsConnector::from(tls);
            connector.connect(name, stream).await.map_err(|error| error.to_string())
        };
        let connected = tokio::time::timeout(AGGREGATED_DIAL_MAX, connecting).await;
        connected.unwrap_or_else(|_| Err(format!("dial tcp {address}: i/o timeout")))
    }

    /// Asks a short question in the aggregator's own name.
    ///
    /// # Errors
    /// Why there is no answer, for people.
    pub(super) async fn fetch(
        &self,
        server: &Server,
        path: &str,
        accept: &'static str,
        within: Duration,
    ) -> Result<Fetched, String> {
        let asking = self.ask(server, path, accept);
        let url = || format!("https://{}{path}", self.address(server).unwrap_or_default());
        let asked = tokio::time::timeout(within, asking).await;
        asked.unwrap_or_else(|_| Err(format!("timed out waiting for {}", url())))
    }

    async fn ask(
        &self,
        server: &Server,
        path: &str,
        accept: &'static str,
    ) -> Result<Fetched, String> {
        let stream = self.dial(server).await?;
        let shown = |error: &dyn std::fmt::Display| error.to_string();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| shown(&error))?;
        let mut request = Request::get(path)
            .header(HOST, self.host())
            .header(ACCEPT, HeaderValue::from_static(accept))
            .body(Empty::<Bytes>::new())
            .map_err(|error| shown(&error))?;
        set_identity(request.headers_mut(), &aggregator());
        // The connection is driven here, and ends with this function.
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|error| shown(&error))?;
            let code = answer.status().as_u16();
            let limited = Limited::new(answer.into_body(), AGGREGATED_DOCUMENT_BYTES_MAX);
            let body = limited.collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok(Fetched { code, body })
        };
        tokio::pin!(connection);
        tokio::select! {
            biased;
            fetched = exchange => fetched,
            ended = &mut connection => match ended {
                Ok(()) => Err("the connection was closed".to_owned()),
                Err(error) => Err(shown(&error)),
            },
        }
    }
}

/// Who the aggregation layer is when nobody asks it to ask.
fn aggregator() -> User {
    User {
        name: "system:kube-aggregator".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..User::default()
    }
}

/// Tells a backend who asks; what the client said of itself in these headers is dropped.
pub(super) fn set_identity(headers: &mut HeaderMap, user: &User) {
    let said: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in said {
        headers.remove(name);
    }
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    for group in &user.groups {
        add("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escaped(key));
        values.iter().for_each(|value| add(&name, value));
    }
}

/// A key as part of a header's name: what may not stand there is percent-encoded.
fn escaped(key: &str) -> String {
    let mut out = String::new();
    for byte in key.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        if plain {
            out.push(byte.to_ascii_lowercase().into());
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}

fn tls(server: &Server, spec: &Value) -> Result<Arc<rustls::ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let insecure = spec.get("insecureSkipTLSVerify") == Some(&Value::Bool(true));
    let builder = if insecure {
        builder.dangerous().with_custom_certificate_verifier(crate::dial::unverified(provider))
    } else {
        builder.with_root_certificates(roots(text(spec, "/caBundle"))?)
    };
    let config = match &server.config.front_proxy {
        Some(front_proxy) => {
            builder.with_client_cert_resolver(Arc::clone(&front_proxy.certificate))
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn roots(bundle: &str) -> Result<rustls::RootCertStore, String> {
    let mut roots = rustls::RootCertStore::empty();
    let bundle = STANDARD.decode(bundle).map_err(|error| format!("caBundle: {error}"))?;
    for certificate in rustls_pemfile::certs(&mut bundle.as_slice()) {
        let certificate = certificate.map_err(|error| format!("caBundle: {error}"))?;
        roots.add(certificate).map_err(|error| format!("caBundle: {error}"))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_say_who_it_is() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("root"));
        headers.insert("x-remote-extra-a", HeaderValue::from_static("b"));
        let mut user = User { name: "jane".to_owned(), ..User::default() };
        user.groups = vec!["a".to_owned(), "b".to_owned()];
        user.extra.insert("example.org/Key".to_owned(), vec!["v".to_owned()]);
        set_identity(&mut headers, &user);
        let shown: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or_default()))
            .collect();
        assert_eq!(
            shown,
            [
                "x-remote-user: jane",
                "x-remote-group: a",
                "x-remote-group: b",
                "x-remote-extra-example.org%2fkey: v"
            ]
        );
    }
}
