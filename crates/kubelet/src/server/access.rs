//! Who may ask the kubelet for what.

use std::collections::BTreeMap;

use async_trait::async_trait;
use client::Client;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use x509_parser::prelude::FromDer as _;

/// What a connection and its request say of who asks.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The client's certificate (DER), checked against the CA by the TLS layer.
    pub certificate: Option<Vec<u8>>,
    /// The bearer token.
    pub bearer: Option<String>,
}

/// What is asked for, in the terms of authorization: a subresource of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// `stats`, `metrics`, `log`, `configz`, `healthz`, `pods`, or `proxy` for all else.
    pub subresource: &'static str,
}

/// Why someone may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody knows who asks.
    Unauthorized,
    /// The user may not do it; with a text for a person.
    Forbidden(String),
    /// It cannot be found out now.
    Unavailable(String),
}

/// Decides who may do what.
#[async_trait]
pub trait Access: Send + Sync + std::fmt::Debug {
    /// Whether `caller` may do what `attributes` say.
    async fn check(&self, caller: &Caller, attributes: &Attributes) -> Result<(), Refusal>;
}

/// Lets everyone do everything: for connections within the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trusted;

#[async_trait]
impl Access for Trusted {
    async fn check(&self, _caller: &Caller, _attributes: &Attributes) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Asks the API server: `TokenReview` for tokens, `SubjectAccessReview` for rights.
#[derive(Clone, Debug)]
pub struct Delegated {
    client: Client,
    node: String,
}

#[derive(Debug, Default)]
struct User {
    name: String,
    groups: Vec<String>,
    uid: Option<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Delegated {
    /// Decides for the node of that name.
    pub fn new(client: Client, node: impl Into<String>) -> Self {
        Self { client, node: node.into() }
    }

    async fn user(&self, caller: &Caller) -> Result<User, Refusal> {
        if let Some(user) = caller.certificate.as_deref().and_then(of_certificate) {
            return Ok(user);
        }
        let Some(token) = &caller.bearer else { return Err(Refusal::Unauthorized) };
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.clone(), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let answer = self.client.all::<TokenReview>().create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let status = answer.status.unwrap_or_default();
        if !status.authenticated.unwrap_or(false) {
            return Err(Refusal::Unauthorized);
        }
        let user = status.user.unwrap_or_default();
        Ok(User {
            name: user.username.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            uid: user.uid,
            extra: user.extra.unwrap_or_default(),
        })
    }
}

/// Common name and organisations of a certificate.
fn of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|it| it.as_str().ok());
    let mut groups: Vec<String> = groups.map(str::to_owned).collect();
    groups.push("system:authenticated".to_owned());
    Some(User { name, groups, ..User::default() })
}

#[async_trait]
impl Access for Delegated {
    async fn check(&self, caller: &Caller, attributes: &Attributes) -> Result<(), Refusal> {
        let user = self.user(caller).await?;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                groups: Some(user.groups),
                uid: user.uid,
                extra: Some(user.extra),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(attributes.verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(attributes.subresource.to_owned()),
                    name: Some(self.node.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews = self.client.all::<SubjectAccessReview>();
        let answer = reviews.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        if answer.status.is_some_and(|status| status.allowed) {
            return Ok(());
        }
        Err(Refusal::Forbidden(format!(
            "Forbidden (user={}, verb={}, resource=nodes, subresource={})",
            user.name, attributes.verb, attributes.subresource
        )))
    }
}
