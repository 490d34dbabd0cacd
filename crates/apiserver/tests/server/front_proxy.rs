//! Who is believed when he says who asks: connections over TLS, with certificates of two authorities.

use std::sync::Arc;

use apiserver::FrontProxy;
use apiserver::serve::serve;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::bench::{Bench, config};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// Who signs which name, the headers, what the answer has.
type Case<'a> = (Option<(&'a Authority, &'a str)>, &'a str, &'a str);

type Leaf = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::new(params, key), certificate: der, pem }
    }

    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Leaf {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        (certificate, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

fn roots(authorities: &[&Authority]) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.certificate.clone()).unwrap();
    }
    Arc::new(roots)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Asks who one is; the whole answer.
async fn whoami(address: std::net::SocketAddr, tls: Arc<ClientConfig>, headers: &str) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(tls).connect(name, stream).await.unwrap();
    let body = r#"{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}"#;
    let request = format!(
        "POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1\r\nhost: localhost\r\n\
         connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The server may end the connection without TLS's farewell.
    let _read = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn only_a_front_proxy_speaks_for_others() {
    let (users, proxies) = (Authority::new(), Authority::new());
    let mut config = config();
    config.client_ca_pem = users.pem.clone();
    let own = proxies.sign("front-proxy-client", ExtendedKeyUsagePurpose::ClientAuth);
    let key = provider().key_provider.load_private_key(own.1.clone_key()).unwrap();
    let certified = rustls::sign::CertifiedKey::new(vec![own.0.clone()], key);
    config.front_proxy = Some(FrontProxy {
        ca_pem: proxies.pem.clone(),
        name: "front-proxy-client".to_owned(),
        certificate: Arc::new(rustls::sign::SingleCertAndKey::from(certified)),
    });
    let bench = Bench::with(config).await;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(&[&users, &proxies]), provider());
    let (certificate, key) = users.sign("server", ExtendedKeyUsagePurpose::ServerAuth);
    let tls = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(Arc::clone(&bench.server), listener, Arc::new(tls)));

    let says = "x-remote-user: eve\r\nx-remote-group: g\r\nx-remote-extra-a: b\r\n";
    let cases: [Case<'_>; 6] = [
        (Some((&proxies, "front-proxy-client")), says, "\"username\":\"eve\""),
        (Some((&proxies, "front-proxy-client")), "", "401 Unauthorized"),
        (Some((&proxies, "another-name")), says, "401 Unauthorized"),
        (Some((&users, "front-proxy-client")), says, "\"username\":\"front-proxy-client\""),
        (Some((&users, "ann")), says, "\"username\":\"ann\""),
        (None, says, "User \\\"system:anonymous\\\" cannot create"),
    ];
    for (shown, headers, expected) in cases {
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(&[&users]));
        let client = match shown {
            Some((by, name)) => {
                let (certificate, key) = by.sign(name, ExtendedKeyUsagePurpose::ClientAuth);
                client.with_client_auth_cert(vec![certificate], key).unwrap()
            }
            None => client.with_no_client_auth(),
        };
        let answer = whoami(address, Arc::new(client), headers).await;
        let who = shown.map(|(_, name)| name);
        assert!(answer.contains(expected), "{who:?} {headers}: {answer}");
    }
    serving.abort();
    bench.finish().await;
}
