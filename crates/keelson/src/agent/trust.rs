//! Learning the cluster's authority from the digest in the token: the server shows the authority's certificate
//! beside its own, and only the one with that digest is believed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Uri;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::pki::digest;

/// How long one attempt may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Asks the server at `address` for the authority with a digest; PEM.
///
/// # Errors
/// The server cannot be reached, or is not the one that the digest names.
pub(crate) async fn learn(address: &Uri, wanted: &str) -> anyhow::Result<String> {
    let (host, port) = host_and_port(address)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Pinned {
        wanted: wanted.to_owned(),
        provider: Arc::clone(&provider),
        found: OnceLock::new(),
    });
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let name = ServerName::try_from(host.clone()).context("the server's name")?;
    let shaking = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    tokio::time::timeout(HANDSHAKE_MAX, shaking)
        .await
        .with_context(|| format!("{address} does not answer"))?
        .with_context(|| format!("connect to {address}"))?;
    let found = verifier.found.get().context("the server showed no authority")?;
    Ok(pem(found))
}

/// Where the URL of an API server leads.
///
/// # Errors
/// It is not `https://HOST[:PORT]`.
pub(crate) fn host_and_port(address: &Uri) -> anyhow::Result<(String, u16)> {
    let Some(host) = address.host().filter(|_| address.scheme_str() == Some("https")) else {
        bail!("server {address}: expected https://HOST:PORT");
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((host, address.port_u16().unwrap_or(443)))
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + "-----END CERTIFICATE-----\n"
}

#[derive(Debug)]
struct Pinned {
    wanted: String,
    provider: Arc<CryptoProvider>,
    found: OnceLock<CertificateDer<'static>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates.iter().find(|shown| digest(shown) == self.wanted);
        let Some(authority) = authority else {
            return Err(rustls::Error::General(
                "the server does not belong to the cluster that the token names".to_owned(),
            ));
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let provider = Arc::clone(&self.provider);
        let checking = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verified =
            checking.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)?;
        // A second handshake cannot happen; the first authority stays.
        let _known = self.found.set(authority.clone().into_owned());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::pki::Authority;

    #[tokio::test]
    async fn only_the_authority_of_the_token_is_believed() {
        let now = jiff::Timestamp::now();
        let (ours, theirs) = (Authority::for_tests("a", now), Authority::for_tests("b", now));
        let address = "127.0.0.1".parse().unwrap();
        let sign = |authority: &Authority| authority.server("x", &[], &[address], now).unwrap();
        // The last one shows our authority beside a certificate that another has signed.
        let shown = [
            (sign(&ours).with_authority(&ours), true),
            (sign(&theirs).with_authority(&theirs), false),
            (sign(&theirs).with_authority(&ours), false),
        ];
        for (leaf, good) in shown {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let (chain, key) = leaf.chain();
            let config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url: Uri = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
            let serving = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                TlsAcceptor::from(Arc::new(config)).accept(stream).await.map(drop)
            });
            let learned = learn(&url, &ours.digest()).await;
            let _ended = serving.await.unwrap();
            assert_eq!(learned.is_ok(), good, "{learned:?}");
            if let Ok(pem) = learned {
                assert_eq!(crate::pki::roots(&pem).unwrap().len(), 1);
            }
        }
    }
}
