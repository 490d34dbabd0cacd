//! The identity in which the API server passes requests on to aggregated servers: an authority that signs
//! nothing else, so that nobody else can say who asks.

use std::path::Path;

use apiserver::FrontProxy;

use crate::pki::Authority;
use crate::serving::Serving;

/// Upstream's common name.
const NAME: &str = "front-proxy-client";

/// Opens the authority below `data_dir`; the certificate renews itself.
///
/// # Errors
/// A file cannot be read or written, or the signing failed.
pub(crate) fn open(data_dir: &Path, serving: &Serving) -> anyhow::Result<FrontProxy> {
    let clock = serving.clock.clone();
    let authority = Authority::open(&data_dir.join("pki"), "front-proxy-ca", clock.now())?;
    let ca_pem = authority.certificate_pem.clone();
    let certificate =
        serving.renewed("front proxy", move || authority.client(NAME, &[], clock.now()))?;
    Ok(FrontProxy { ca_pem, name: NAME.to_owned(), certificate })
}
