//! Certificate requests: those of nodes are approved, approved ones are signed, old ones are cleared away. What
//! is a node's request, and what a signer signs, is decided in `reconcile::certificates`.

use std::sync::Arc;
use std::time::Duration;

use client::{Client, Informer, Outcome, WorkQueue, run_workers};
use clock::Clock;
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, PostParams};
use rcgen::{
    CertificateSigningRequestParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use reconcile::certificates::{self as rules, Permission, Requested};

use crate::Context;
use crate::kinds::{conflicts, name_of, not_found};
use crate::limits::{CERTIFICATE_BACKDATED, CERTIFICATE_LIFE, CERTIFICATE_LIFE_MIN, WORKERS};

/// What certificates are signed with.
#[derive(Clone)]
pub struct Signing {
    client: Arc<Issuer<'static, KeyPair>>,
    server: Arc<Issuer<'static, KeyPair>>,
}

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signing")
    }
}

impl Signing {
    /// Certificate and key (PEM) of the authority that signs clients, and of the one that signs servers.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn new(client: (&str, &str), server: (&str, &str)) -> Result<Self, rcgen::Error> {
        let issuer = |(certificate, key): (&str, &str)| {
            Ok::<_, rcgen::Error>(Arc::new(Issuer::from_ca_cert_pem(
                certificate,
                KeyPair::from_pem(key)?,
            )?))
        };
        Ok(Self { client: issuer(client)?, server: issuer(server)? })
    }
}

pub(crate) fn start(context: &Context) {
    let Some(signing) = context.config.signing.clone() else { return };
    let queue: WorkQueue<String> = WorkQueue::new();
    let requests = context.client.informer::<CertificateSigningRequest>();
    let adding = queue.clone();
    requests.on_change(move |change| adding.add(name_of(&**change.object())));
    let worker = Worker {
        nodes: context.client.informer::<Node>(),
        client: context.client.clone(),
        clock: context.clock.clone(),
        requests,
        signing,
    };
    run_workers(&context.scope, "certificate requests", WORKERS, &queue, move |name| {
        let worker = worker.clone();
        async move { worker.reconcile(&name).await }
    });
}

#[derive(Debug, thiserror::Error)]
enum CertificateError {
    #[error("the API server refused")]
    Api(#[source] Box<kube::Error>),
    #[error("the node has not told its addresses yet")]
    NodeUnknown,
}

impl From<kube::Error> for CertificateError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

#[derive(Clone)]
struct Worker {
    client: Client,
    clock: Clock,
    requests: Informer<CertificateSigningRequest>,
    nodes: Informer<Node>,
    signing: Signing,
}

impl Worker {
    async fn reconcile(&self, name: &str) -> Result<Outcome, CertificateError> {
        let Some(request) = self.requests.get("", name) else { return Ok(Outcome::Done) };
        let now = self.clock.now();
        let Some(until) = rules::kept_until(&request) else { return Ok(Outcome::Done) };
        if until <= now {
            let deleted = self
                .client
                .all::<CertificateSigningRequest>()
                .delete(name, &DeleteParams::default())
                .await;
            return match deleted {
                Err(error) if !not_found(&error) => Err(error.into()),
                _ => Ok(Outcome::Done),
            };
        }
        let later =
            Outcome::After(Duration::try_from(until.duration_since(now)).unwrap_or_default());
        let is_ours = [rules::KUBELET_CLIENT, rules::KUBELET_SERVING, rules::CLIENT]
            .contains(&request.spec.signer_name.as_str());
        let has = |kind| rules::has_condition(&request, kind);
        let is_issued = request.status.as_ref().is_some_and(|status| status.certificate.is_some());
        if !is_ours || is_issued || has("Denied") || has("Failed") {
            return Ok(later);
        }
        if has("Approved") {
            self.sign(&request).await?
        } else {
            self.approve(&request).await?
        }
        Ok(later)
    }

    async fn approve(&self, request: &CertificateSigningRequest) -> Result<(), CertificateError> {
        let Ok((_, requested)) = read(request) else { return Ok(()) };
        let user = request.spec.username.as_deref().unwrap_or_default();
        let node = user.strip_prefix("system:node:").and_then(|node| self.nodes.get("", node));
        let Some(permission) = rules::recognize(request, &requested, node.as_deref()) else {
            // A kubelet asks at once when it starts; its addresses may be on their way.
            let serves = request.spec.signer_name == rules::KUBELET_SERVING;
            let told = node.is_some_and(|node| {
                node.status.as_ref().is_some_and(|status| status.addresses.is_some())
            });
            let is_node = user.starts_with("system:node:");
            return if serves && is_node && !told {
                Err(CertificateError::NodeUnknown)
            } else {
                Ok(())
            };
        };
        if !self.may(request, &permission).await? {
            return Ok(());
        }
        let mut approved = request.clone();
        let condition = self.condition("Approved", "AutoApproved", permission.message.to_owned());
        let status = approved.status.get_or_insert_default();
        status.conditions.get_or_insert_default().push(condition);
        self.write("approval", &approved).await
    }

    async fn may(
        &self,
        request: &CertificateSigningRequest,
        permission: &Permission,
    ) -> Result<bool, CertificateError> {
        let spec = &request.spec;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some("create".to_owned()),
                    group: Some("certificates.k8s.io".to_owned()),
                    version: Some("*".to_owned()),
                    resource: Some("certificatesigningrequests".to_owned()),
                    subresource: Some(permission.subresource.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = self
            .client
            .all::<SubjectAccessReview>()
            .create(&PostParams::default(), &review)
            .await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn sign(&self, request: &CertificateSigningRequest) -> Result<(), CertificateError> {
        let mut signed = request.clone();
        let status = signed.status.get_or_insert_default();
        match self.certificate(request) {
            Ok(pem) => status.certificate = Some(ByteString(pem.into_bytes())),
            Err(why) => {
                let condition = self.condition("Failed", "SignerValidationFailure", why);
                status.conditions.get_or_insert_default().push(condition);
            }
        }
        self.write("status", &signed).await
    }

    fn certificate(&self, request: &CertificateSigningRequest) -> Result<String, String> {
        let (mut parsed, requested) = read(request)?;
        rules::check(request, &requested).map_err(|fault| fault.to_string())?;
        let params = &mut parsed.params;
        let now = self.clock.now();
        params.is_ca = IsCa::ExplicitNoCa;
        params.not_before = std::time::SystemTime::from(now - CERTIFICATE_BACKDATED).into();
        params.not_after = std::time::SystemTime::from(now + life(request)).into();
        let usages = request.spec.usages.iter().flatten();
        params.key_usages = usages.clone().filter_map(|usage| key_usage(usage)).collect();
        params.extended_key_usages = usages.filter_map(|usage| extended_usage(usage)).collect();
        let issuer = match request.spec.signer_name.as_str() {
            rules::KUBELET_SERVING => &self.signing.server,
            _ => &self.signing.client,
        };
        let certificate = parsed.signed_by(issuer).map_err(|error| error.to_string())?;
        Ok(certificate.pem())
    }

    fn condition(
        &self,
        kind: &str,
        reason: &str,
        message: String,
    ) -> CertificateSigningRequestCondition {
        let now = Some(Time(self.clock.now()));
        CertificateSigningRequestCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_update_time: now.clone(),
            last_transition_time: now,
        }
    }

    async fn write(
        &self,
        part: &str,
        request: &CertificateSigningRequest,
    ) -> Result<(), CertificateError> {
        let api = self.client.all::<CertificateSigningRequest>();
        let name = name_of(request);
        match api.replace_subresource(part, &name, &PostParams::default(), request).await {
            // What was written by another comes as a change, and this is looked at again.
            Err(error) if !conflicts(&error) && !not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// How long the certificate is good: as long as was asked for, within bounds.
fn life(request: &CertificateSigningRequest) -> Duration {
    let asked = request.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    asked.map_or(CERTIFICATE_LIFE, |seconds| {
        Duration::from_secs(seconds).clamp(CERTIFICATE_LIFE_MIN, CERTIFICATE_LIFE)
    })
}

/// Reads a request and checks its own signature.
fn read(
    request: &CertificateSigningRequest,
) -> Result<(CertificateSigningRequestParams, Requested), String> {
    let pem = std::str::from_utf8(&request.spec.request.0).map_err(|error| error.to_string())?;
    let parsed =
        CertificateSigningRequestParams::from_pem(pem).map_err(|error| error.to_string())?;
    let mut requested = Requested::default();
    for (kind, value) in parsed.params.distinguished_name.iter() {
        let text = text(value).ok_or("the subject has a name that is no text")?;
        match kind {
            DnType::CommonName => requested.common_name = text,
            DnType::OrganizationName => requested.organizations.push(text),
            _ => {}
        }
    }
    for name in &parsed.params.subject_alt_names {
        match name {
            SanType::DnsName(name) => requested.dns_names.push(name.as_str().to_owned()),
            SanType::IpAddress(address) => requested.addresses.push(*address),
            _ => requested.has_other_names = true,
        }
    }
    Ok((parsed, requested))
}

fn text(value: &DnValue) -> Option<String> {
    match value {
        DnValue::Utf8String(text) => Some(text.clone()),
        DnValue::PrintableString(text) => Some(text.as_str().to_owned()),
        DnValue::Ia5String(text) => Some(text.as_str().to_owned()),
        DnValue::TeletexString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

fn key_usage(usage: &str) -> Option<KeyUsagePurpose> {
    Some(match usage {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        _ => return None,
    })
}

fn extended_usage(usage: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match usage {
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        "code signing" => ExtendedKeyUsagePurpose::CodeSigning,
        "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName};
    use serde_json::json;

    use super::*;

    fn authority() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    /// A worker that reaches nobody.
    fn worker() -> Worker {
        struct Nothing;
        impl client::Source for Nothing {
            fn watch(
                &self,
                _: client::WatchScope,
            ) -> futures::stream::BoxStream<'static, client::Update> {
                Box::pin(futures::stream::pending())
            }
        }
        let (client_ca, server_ca) = (authority(), authority());
        let kube = kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap()));
        let client = Client::new(kube.unwrap(), Arc::new(Nothing), task::Scope::new());
        Worker {
            requests: client.informer(),
            nodes: client.informer(),
            client,
            clock: Clock::system(),
            signing: Signing::new((&client_ca.0, &client_ca.1), (&server_ca.0, &server_ca.1))
                .unwrap(),
        }
    }

    fn request(signer: &str, usages: &[&str], names: &[&str]) -> CertificateSigningRequest {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, "system:node:a");
        let key = KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let mut request: CertificateSigningRequest = serde_json::from_value(json!({
            "metadata": {"name": "r"},
            "spec": {"request": "", "signerName": signer, "usages": usages,
                "expirationSeconds": 3600},
        }))
        .unwrap();
        request.spec.request = ByteString(pem.into_bytes());
        request
    }

    #[tokio::test]
    async fn requests_are_read_and_signed() {
        let worker = worker();
        let good = request(rules::KUBELET_CLIENT, &["client auth", "digital signature"], &[]);
        let (_, requested) = read(&good).unwrap();
        assert_eq!(requested.common_name, "system:node:a");
        assert_eq!(requested.organizations, ["system:nodes"]);
        let pem = worker.certificate(&good).unwrap();
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
        let named = request(rules::KUBELET_CLIENT, &["client auth", "digital signature"], &["b"]);
        assert_eq!(worker.certificate(&named).unwrap_err(), "DNS subjectAltNames are not allowed");
        let mut broken = good.clone();
        broken.spec.request.0.truncate(60);
        assert!(worker.certificate(&broken).is_err());
    }

    #[test]
    fn lives_are_bounded() {
        let mut request = request(rules::CLIENT, &["client auth"], &[]);
        for (asked, wanted) in [
            (None, CERTIFICATE_LIFE),
            (Some(3600), Duration::from_secs(3600)),
            (Some(1), CERTIFICATE_LIFE_MIN),
            (Some(i32::MAX), CERTIFICATE_LIFE),
        ] {
            request.spec.expiration_seconds = asked;
            assert_eq!(life(&request), wanted, "{asked:?}");
        }
    }
}
