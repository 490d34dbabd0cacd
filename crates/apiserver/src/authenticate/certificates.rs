//! Whose certificate a client shows: a user's, a front proxy's, or one that means nothing here.
//!
//! TLS lets both kinds in. Which it is decides what the certificate says: the authority of users vouches for names
//! and groups, that of front proxies only for the right to say who asks.

use std::sync::Arc;

use admission::User;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sha2::Digest as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::AUTHENTICATED;
use crate::server::Config;

/// What a connection's certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The user that it names.
    pub user: Option<User>,
    /// Whether its holder may say who asks.
    pub is_front_proxy: bool,
    /// Whether it names nobody: its holder must show something else.
    pub is_strange: bool,
}

/// Checks certificates by the authority that signed them.
pub(crate) struct Certificates {
    users: Option<Arc<dyn ClientCertVerifier>>,
    front_proxies: Option<(Arc<dyn ClientCertVerifier>, String)>,
}

impl Certificates {
    pub(crate) fn new(config: &Config) -> Self {
        let front_proxy = config.front_proxy.as_ref();
        let front_proxies =
            front_proxy.and_then(|proxy| Some((verifier(&proxy.ca_pem)?, proxy.name.clone())));
        Self { users: verifier(&config.client_ca_pem), front_proxies }
    }

    /// What a chain says that begins with the client's own certificate.
    pub(crate) fn read(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Shown {
        let Some((own, others)) = chain.split_first() else { return Shown::default() };
        let signed = |authority: &Arc<dyn ClientCertVerifier>| {
            authority.verify_client_cert(own, others, now).is_ok()
        };
        let user = self.users.as_ref().filter(|users| signed(users)).and_then(|_| user_of(own));
        let is_front_proxy = self.front_proxies.as_ref().is_some_and(|(authority, name)| {
            signed(authority) && common_name(own).as_ref() == Some(name)
        });
        Shown { is_strange: user.is_none(), user, is_front_proxy }
    }
}

fn verifier(pem: &str) -> Option<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_pemfile::certs(&mut pem.as_bytes()).flatten() {
        if let Err(error) = roots.add(certificate) {
            tracing::error!(%error, "an authority of clients is not usable");
        }
    }
    if roots.is_empty() {
        return None;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .inspect_err(|error| tracing::error!(%error, "clients' certificates cannot be checked"))
        .ok()
}

fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    Some(name.as_str().ok()?.to_owned())
}

/// The user of a client certificate: common name and organizations.
fn user_of(der: &[u8]) -> Option<User> {
    let name = common_name(der).filter(|name| !name.is_empty())?;
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let organizations = certificate.subject().iter_organization();
    let mut groups: Vec<String> =
        organizations.filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    groups.push(AUTHENTICATED.to_owned());
    let digest: String =
        sha2::Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let id = ("authentication.kubernetes.io/credential-id", format!("X509SHA256={digest}"));
    let extra = [(id.0.to_owned(), vec![id.1])].into();
    Some(User { name, groups, extra, ..User::default() })
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };

    use super::*;

    struct Authority(Issuer<'static, KeyPair>, String);

    fn authority() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority(Issuer::new(params, key), pem)
    }

    fn signed(by: &Authority, name: &str, organizations: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        for organization in organizations {
            params.distinguished_name.push(DnType::OrganizationName, *organization);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(&KeyPair::generate().unwrap(), &by.0).unwrap().der().clone()
    }

    #[test]
    fn the_authority_decides_what_a_certificate_means() {
        let (users, proxies, others) = (authority(), authority(), authority());
        let certificates = Certificates {
            users: verifier(&users.1),
            front_proxies: verifier(&proxies.1).map(|one| (one, "front-proxy-client".to_owned())),
        };
        // Who signs, the name: who it is, whether it may speak for others.
        let cases = [
            (&users, "ann", Some("ann"), false),
            (&users, "front-proxy-client", Some("front-proxy-client"), false),
            (&proxies, "front-proxy-client", None, true),
            (&proxies, "system:admin", None, false),
            (&others, "front-proxy-client", None, false),
            (&users, "", None, false),
        ];
        for (by, name, user, is_front_proxy) in cases {
            let shown = certificates.read(&[signed(by, name, &["g"])], UnixTime::now());
            assert_eq!(shown.user.as_ref().map(|user| user.name.as_str()), user, "{name}");
            assert_eq!(shown.is_front_proxy, is_front_proxy, "{name}");
            assert_eq!(shown.is_strange, user.is_none(), "{name}");
            if let Some(user) = shown.user {
                assert_eq!(user.groups, ["g", "system:authenticated"]);
                let id = &user.extra["authentication.kubernetes.io/credential-id"][0];
                assert_eq!((&id[..11], id.len()), ("X509SHA256=", 11 + 64));
            }
        }
        assert_eq!(certificates.read(&[], UnixTime::now()), Shown::default());
        let later =
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(u32::MAX.into()) * 40);
        let old = certificates.read(&[signed(&users, "ann", &[])], later);
        assert!(old.is_strange);
    }
}
