//! Calling a webhook over HTTPS, by URL or by Service.

use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::handle::text;
use crate::limits::BODY_BYTES_MAX;
use crate::server::Server;

/// Why a webhook could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("its configuration cannot be used: {0}")]
    Configuration(String),
    #[error("Post \"{url}\": {why}")]
    Failed { url: String, why: String },
}

struct Target {
    uri: Uri,
    host: String,
    address: String,
}

/// Posts a review to the client configuration at `pointer` of `config` and reads the review that comes
/// back.
pub(crate) async fn send(
    server: &Server,
    config: &Value,
    pointer: &str,
    review: &Value,
    timeout: Duration,
) -> Result<Value, CallError> {
    let client = config.pointer(pointer).unwrap_or(&Value::Null);
    let target =
        target(server, client).map_err(|status| CallError::Configuration(status.message))?;
    let url = format!("{}?timeout={}s", target.uri, timeout.as_secs());
    let failed = |why: String| CallError::Failed { url: url.clone(), why };
    // Boxed, because every request has room for it and few ask.
    let asking = Box::pin(ask(client, &target, review, timeout));
    match tokio::time::timeout(timeout, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(why)) => Err(failed(why)),
        Err(_) => Err(failed("context deadline exceeded".to_owned())),
    }
}

/// By Service: its cluster address, which every node balances.
fn target(server: &Server, client: &Value) -> Result<Target, Status> {
    let unusable = |why: &str| Status::internal(why);
    let url = text(client, "/url");
    if !url.is_empty() {
        let uri: Uri = url.parse().map_err(|_| unusable("the url cannot be read"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(443);
        let address =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        return Ok(Target { uri, host, address });
    }
    let (namespace, name) = (text(client, "/service/namespace"), text(client, "/service/name"));
    let port = client.pointer("/service/port").and_then(Value::as_u64).unwrap_or(443);
    let path = text(client, "/service/path");
    let service = server.caches.place("", "services").get(namespace, name);
    let missing = || unusable(&format!("service \"{name}\" not found"));
    let service = service.ok_or_else(missing)?.to_value();
    let ip = text(&service, "/spec/clusterIP");
    if ip.is_empty() || ip == "None" {
        return Err(unusable(&format!("service \"{name}\" has no cluster address")));
    }
    let host = format!("{name}.{namespace}.svc");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let uri: Uri = format!("https://{host}:{port}{path}")
        .parse()
        .map_err(|_| unusable("the path cannot be read"))?;
    let address = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    Ok(Target { uri, host, address })
}

async fn ask(
    client: &Value,
    target: &Target,
    review: &Value,
    timeout: Duration,
) -> Result<Value, String> {
    let shown = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(&target.address)
        .await
        .map_err(|error| format!("dial tcp {}: {error}", target.address))?;
    let connector = tokio_rustls::TlsConnector::from(tls(client)?);
    let name = ServerName::try_from(target.host.clone()).map_err(|error| shown(&error))?;
    let stream = connector.connect(name, stream).await.map_err(|error| shown(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| shown(&error))?;
    // Ends when the answer has been read, or with the stream.
    let driving = tokio::spawn(connection);
    let path = target.uri.path_and_query().map_or("/", |path| path.as_str());
    let mark = if path.contains('?') { '&' } else { '?' };
    let request = Request::post(format!("{path}{mark}timeout={}s", timeout.as_secs()))
        .header("host", target.uri.authority().map_or("", |authority| authority.as_str()))
        .header("content-type", "application/json")
        .header("accept", "application/json, */*")
        .header("user-agent", "kube-apiserver-admission")
        .body(Full::new(Bytes::from(review.to_string())))
        .map_err(|error| shown(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| shown(&error))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    driving.abort();
    if !status.is_success() {
        return Err(format!(
            "an error on the server (\"{}\") has prevented the request from succeeding",
            String::from_utf8_lossy(&body)
        ));
    }
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

fn tls(client: &Value) -> Result<Arc<rustls::ClientConfig>, String> {
    let mut roots = rustls::RootCertStore::empty();
    let bundle = STANDARD.decode(text(client, "/caBundle")).map_err(|error| error.to_string())?;
    for certificate in rustls_pemfile::certs(&mut bundle.as_slice()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
