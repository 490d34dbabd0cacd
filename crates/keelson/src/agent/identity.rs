//! Who an agent's components are: certificates that the cluster signs on request, kept on disk and renewed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clock::Clock;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec,
};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use crate::pki::{Leaf, write_private};
use crate::renewal::{self, Shown, Validity};

/// Between two looks at a request that is not signed yet.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// How long a request may stay unsigned before another is made.
const SIGNED_MAX: Duration = Duration::from_secs(120);
/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// A certificate that a component needs.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Its file's name, and what the log calls it.
    pub(crate) what: &'static str,
    pub(crate) signer: &'static str,
    pub(crate) common_name: String,
    pub(crate) organization: Option<&'static str>,
    pub(crate) names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) purpose: &'static str,
}

/// Where an agent keeps its certificates, and its time.
#[derive(Clone, Debug)]
pub(crate) struct Identities {
    /// The folder; it exists.
    pub(crate) folder: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) scope: task::Scope,
}

impl Identities {
    /// Shows a certificate as long as the agent runs: the one on disk while it is good, else one that
    /// `first` asks for; `later` asks for those that follow. Resolves when one is shown.
    ///
    /// # Errors
    /// The key is of no use, or the disk refuses.
    pub(crate) async fn show(
        &self,
        wanted: &Wanted,
        shown: &Arc<Shown>,
        first: &kube::Client,
        later: &kube::Client,
    ) -> anyhow::Result<()> {
        let leaf = match self.kept(wanted) {
            Some(leaf) => leaf,
            None => self.obtain(wanted, first).await?,
        };
        shown.show(&leaf)?;
        let (this, wanted) = (self.clone(), wanted.clone());
        let (shown, client) = (Arc::clone(shown), later.clone());
        let what = wanted.what;
        let renewing = renewal::keep(self.clock.clone(), what, leaf.validity(), move || {
            let (this, wanted) = (this.clone(), wanted.clone());
            let (shown, client) = (Arc::clone(&shown), client.clone());
            async move { this.renew(&wanted, &shown, &client).await }
        });
        self.scope.spawn_until_cancelled("certificate renewal", renewing);
        Ok(())
    }

    async fn renew(
        &self,
        wanted: &Wanted,
        shown: &Shown,
        client: &kube::Client,
    ) -> anyhow::Result<Validity> {
        let leaf = self.request(wanted, client).await?;
        shown.show(&leaf)?;
        Ok(leaf.validity())
    }

    /// The certificate of an earlier run, while it is good and says what it should.
    fn kept(&self, wanted: &Wanted) -> Option<Leaf> {
        let text = std::fs::read_to_string(self.path(wanted)).ok()?;
        let at = text.find("-----BEGIN PRIVATE KEY-----")?;
        let leaf = Leaf::from_pem(&text[..at], &text[at..]).ok()?;
        let now = self.clock.now();
        let good = leaf.validity().from <= now && now < leaf.validity().until;
        (good && leaf.common_name().as_deref() == Some(&wanted.common_name)).then_some(leaf)
    }

    fn path(&self, wanted: &Wanted) -> PathBuf {
        self.folder.join(format!("{}.pem", wanted.what))
    }

    /// Asks until there is a certificate: the server may come later than the agent.
    async fn obtain(&self, wanted: &Wanted, client: &kube::Client) -> anyhow::Result<Leaf> {
        let mut said = String::new();
        loop {
            match self.request(wanted, client).await {
                Ok(leaf) => return Ok(leaf),
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => {
                    let text = format!("{error:#}");
                    if text != said {
                        tracing::warn!(what = wanted.what, "no certificate yet: {text}");
                        said = text;
                    }
                }
            }
            self.clock.sleep(RETRY_PAUSE).await;
        }
    }

    async fn request(&self, wanted: &Wanted, client: &kube::Client) -> anyhow::Result<Leaf> {
        let key = KeyPair::generate().context("make a key")?;
        let request = signing_request(wanted, &key)?;
        let api: Api<CertificateSigningRequest> = Api::all(client.clone());
        let made =
            api.create(&PostParams::default(), &request).await.context("ask for a certificate")?;
        let name = made.metadata.name.context("the request has no name")?;
        let end = self.clock.now() + SIGNED_MAX;
        while self.clock.now() < end {
            let request = api.get(&name).await.context("look at the request")?;
            let status = request.status.unwrap_or_default();
            if let Some(certificate) = status.certificate {
                let pem = String::from_utf8(certificate.0).context("the signed certificate")?;
                let key = key.serialize_pem();
                let leaf = Leaf::from_pem(&pem, &key)?;
                write_private(&self.path(wanted), &format!("{pem}{key}"))?;
                return Ok(leaf);
            }
            let refused = status
                .conditions
                .into_iter()
                .flatten()
                .find(|condition| matches!(condition.type_.as_str(), "Denied" | "Failed"));
            if let Some(refused) = refused {
                bail!("{} was {}: {}", name, refused.type_, refused.message.unwrap_or_default());
            }
            self.clock.sleep(LOOK_PAUSE).await;
        }
        bail!("request {name} is not signed in time")
    }
}

/// Whether asking again is of no use: the server knows neither token nor certificate.
fn is_final(error: &anyhow::Error) -> bool {
    let status = error.chain().find_map(|cause| match cause.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    });
    status == Some(401)
}

fn signing_request(wanted: &Wanted, key: &KeyPair) -> anyhow::Result<CertificateSigningRequest> {
    let mut params =
        CertificateParams::new(wanted.names.clone()).context("a certificate's names")?;
    params
        .subject_alt_names
        .extend(wanted.addresses.iter().map(|address| SanType::IpAddress(*address)));
    params.distinguished_name = DistinguishedName::new();
    if let Some(organization) = wanted.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, &wanted.common_name);
    let request = params.serialize_request(key).context("make a request")?;
    let pem = request.pem().context("write a request")?;
    Ok(CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some("node-csr-".to_owned()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: wanted.signer.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), wanted.purpose.to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    })
}
