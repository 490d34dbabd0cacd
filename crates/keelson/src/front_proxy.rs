//! The identity in which the API server passes requests on to aggregated servers: an authority that signs
//! nothing else, so that nobody else can say who asks.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use apiserver::FrontProxy;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::pki::Authority;

/// Upstream's common name.
const NAME: &str = "front-proxy-client";

/// Opens the authority below `data_dir`, and signs a certificate for this run.
///
/// # Errors
/// A file cannot be read or written, or the signing failed.
pub(crate) fn open(data_dir: &Path) -> anyhow::Result<FrontProxy> {
    let authority = Authority::open(&data_dir.join("pki"), "front-proxy-ca")?;
    let (chain, key) = authority.client(NAME, &[])?.chain();
    let key = rustls::crypto::ring::sign::any_supported_type(&key)
        .context("use the key of the front proxy")?;
    let certificate = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    Ok(FrontProxy {
        ca_pem: authority.certificate_pem.clone(),
        name: NAME.to_owned(),
        certificate: Arc::new(certificate),
    })
}
