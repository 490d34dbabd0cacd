//! How the API server reaches a node's kubelet.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream that speaks HTTP/1.1 to a kubelet.
pub trait NodeStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> NodeStream for S {}

/// What dialing gives: a stream, already authenticated on both ends.
pub type DialResult = std::io::Result<Box<dyn NodeStream>>;

/// Opens connections to kubelets by node name: in process to our own, over TLS to the others.
pub trait NodeDialer: Send + Sync + 'static {
    /// A connection to the kubelet of a node, whose addresses its `status` names.
    fn dial<'a>(&'a self, node: &'a str) -> Pin<Box<dyn Future<Output = DialResult> + Send + 'a>>;
}

/// For a server that has none.
pub(crate) struct NoNodes;

impl NodeDialer for NoNodes {
    fn dial<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = DialResult> + Send + 'a>> {
        Box::pin(async { Err(std::io::Error::other("there are no nodes")) })
    }
}

/// TLS to a pod or Service behind the proxy. Their certificates are not checked, as upstream does not
/// check them: there is nothing to check them against.
pub(crate) async fn over_tls_unverified(
    stream: tokio::net::TcpStream,
    address: std::net::IpAddr,
) -> DialResult {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(address.into(), stream).await?;
    Ok(Box::new(stream))
}

/// Takes any certificate.
pub(crate) fn unverified(
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Unverified(provider))
}

#[derive(Debug)]
struct Unverified(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
