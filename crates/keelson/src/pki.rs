//! The cluster's certificates: two authorities made at the first start, everything else made from them
//! at every start and renewed while running.
//!
//! Only the authorities' and the token signer's keys are kept, below `pki/` in the data folder, readable
//! by root alone. Leaf certificates live in memory (and, for the administrator, in the kubeconfig).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::FromDer as _;

use crate::renewal::Validity;

/// How long leaf certificates are good for; they are renewed long before.
pub(crate) const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
const AUTHORITY_LIFE_YEARS: i32 = 10;
/// Clocks of clients may be behind by this much.
const BACKDATED: Duration = Duration::from_secs(3600);

/// A certificate authority.
pub(crate) struct Authority {
    /// Its certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PEM.
    pub key_pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

/// A certificate with its key.
#[derive(Debug)]
pub(crate) struct Leaf {
    /// PEM.
    pub certificate_pem: String,
    /// PEM.
    pub key_pem: String,
    certificates: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    validity: Validity,
}

impl Leaf {
    /// In the form that rustls takes.
    pub(crate) fn chain(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key.clone());
        (self.certificates.clone(), PrivateKeyDer::Pkcs8(key))
    }

    /// From when until when it is good.
    pub(crate) fn validity(&self) -> Validity {
        self.validity
    }

    /// Who it is for.
    pub(crate) fn common_name(&self) -> Option<String> {
        let first = self.certificates.first()?;
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(first).ok()?;
        let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
        Some(name.to_owned())
    }

    /// Shown together with its authority, so that one who knows only the authority's digest can check it.
    #[must_use]
    pub(crate) fn with_authority(mut self, authority: &Authority) -> Self {
        self.certificates.push(authority.certificate.clone());
        self
    }

    /// A certificate that somebody else has signed for this key.
    ///
    /// # Errors
    /// One of the two cannot be read.
    pub(crate) fn from_pem(certificate_pem: &str, key_pem: &str) -> anyhow::Result<Self> {
        let certificates: Vec<CertificateDer<'static>> =
            rustls_pemfile::certs(&mut certificate_pem.as_bytes())
                .collect::<Result<_, _>>()
                .context("read a certificate")?;
        let first = certificates.first().context("there is no certificate")?;
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(first)
            .context("understand a certificate")?;
        let time = |time: i64| Timestamp::from_second(time).context("a certificate's time");
        let validity = Validity {
            from: time(parsed.validity().not_before.timestamp())?,
            until: time(parsed.validity().not_after.timestamp())?,
        };
        let key = KeyPair::from_pem(key_pem).context("read a key")?;
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            validity,
            key: key.serialized_der().to_vec(),
            certificates,
        })
    }
}

/// Everything that the control plane signs and checks with.
#[derive(Debug)]
pub(crate) struct Pki {
    /// Signs what servers show.
    pub server: Authority,
    /// Signs what clients show.
    pub client: Authority,
    /// Signs service-account tokens.
    pub tokens: Arc<apiserver::tokens::TokenIssuer>,
}

impl Pki {
    /// Reads the authorities from below `data_dir`, making those that are missing.
    ///
    /// # Errors
    /// A file cannot be read or written, or is not what it should be.
    pub(crate) fn open(data_dir: &Path, now: Timestamp) -> anyhow::Result<Self> {
        let folder = data_dir.join("pki");
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let key = key_at(&folder.join("service-account.key"))?;
        let tokens =
            apiserver::tokens::TokenIssuer::new(key.serialized_der(), key.public_key_raw())
                .context("use the service account key")?;
        Ok(Self {
            server: Authority::open(&folder, "server-ca", now)?,
            client: Authority::open(&folder, "client-ca", now)?,
            tokens: Arc::new(tokens),
        })
    }
}

impl Authority {
    pub(crate) fn open(folder: &Path, name: &str, now: Timestamp) -> anyhow::Result<Self> {
        let key = key_at(&folder.join(format!("{name}.key")))?;
        let path = folder.join(format!("{name}.crt"));
        let certificate_pem = match read(&path)? {
            Some(pem) => pem,
            None => {
                let pem = authority_params(name, now)
                    .self_signed(&key)
                    .context("sign an authority")?
                    .pem();
                write_private(&path, &pem)?;
                pem
            }
        };
        Self::of(certificate_pem, key).with_context(|| format!("understand {}", path.display()))
    }

    fn of(certificate_pem: String, key: KeyPair) -> anyhow::Result<Self> {
        let certificate = rustls_pemfile::certs(&mut certificate_pem.as_bytes()).next();
        let certificate = certificate.context("there is no certificate")??;
        let key_pem = key.serialize_pem();
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)?;
        Ok(Self { certificate_pem, key_pem, certificate, issuer })
    }

    /// What names the authority in a token: the SHA-256 of its certificate, in hex.
    pub(crate) fn digest(&self) -> String {
        digest(&self.certificate)
    }

    /// A certificate for a client.
    ///
    /// # Errors
    /// The random generator or the signing failed.
    pub(crate) fn client(
        &self,
        user: &str,
        groups: &[&str],
        now: Timestamp,
    ) -> anyhow::Result<Leaf> {
        let mut params = leaf_params(user, groups, now)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, now)
    }

    /// A certificate for a server under these names and addresses.
    ///
    /// # Errors
    /// A name is not one, or the signing failed.
    pub(crate) fn server(
        &self,
        common_name: &str,
        names: &[String],
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> anyhow::Result<Leaf> {
        let mut params = leaf_params(common_name, &[], now)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            let text =
                name.as_str().try_into().with_context(|| format!("certificate name {name:?}"))?;
            params.subject_alt_names.push(SanType::DnsName(text));
        }
        params
            .subject_alt_names
            .extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        self.sign(&params, now)
    }

    fn sign(&self, params: &CertificateParams, now: Timestamp) -> anyhow::Result<Leaf> {
        let key = KeyPair::generate().context("make a key")?;
        let certificate = params.signed_by(&key, &self.issuer).context("sign a certificate")?;
        Ok(Leaf {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificates: vec![certificate.der().clone()],
            key: key.serialized_der().to_vec(),
            validity: Validity { from: now - BACKDATED, until: now + LEAF_LIFE },
        })
    }

    #[cfg(test)]
    pub(crate) fn for_tests(name: &str, now: Timestamp) -> Self {
        let key = KeyPair::generate().unwrap();
        let pem = authority_params(name, now).self_signed(&key).unwrap().pem();
        Self::of(pem, key).unwrap()
    }

    /// The authority's certificate as something to trust.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub(crate) fn roots(&self) -> anyhow::Result<rustls::RootCertStore> {
        roots(&self.certificate_pem)
    }
}

/// Certificates of authorities as something to trust.
///
/// # Errors
/// The text has a certificate that cannot be read.
pub(crate) fn roots(pem: &str) -> anyhow::Result<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls_pemfile::certs(&mut pem.as_bytes()) {
        roots.add(certificate.context("read an authority")?).context("trust an authority")?;
    }
    Ok(roots)
}

/// The SHA-256 of a certificate, in hex.
pub(crate) fn digest(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate))
}

fn authority_params(name: &str, now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("keelson-{name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    let now = SystemTime::from(now);
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + LEAF_LIFE * AUTHORITY_LIFE_YEARS.unsigned_abs()).into();
    params
}

fn leaf_params(
    common_name: &str,
    organizations: &[&str],
    now: Timestamp,
) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    for organization in organizations {
        params.distinguished_name.push(DnType::OrganizationName, *organization);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    let now = SystemTime::from(now);
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + LEAF_LIFE).into();
    Ok(params)
}

fn key_at(path: &Path) -> anyhow::Result<KeyPair> {
    match read(path)? {
        Some(pem) => {
            KeyPair::from_pem(&pem).with_context(|| format!("understand {}", path.display()))
        }
        None => {
            let key = KeyPair::generate().context("make a key")?;
            write_private(path, &key.serialize_pem())?;
            Ok(key)
        }
    }
}

/// A file's text, if there is one.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Writes a file that only root may read, whole or not at all.
///
/// # Errors
/// The file system refused.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    let write = || -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}
