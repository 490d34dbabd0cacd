//! Authentication: who asks, from a front proxy's word, the client certificate or the bearer token.
//!
//! [`certificates`] says whose certificate a connection shows, [`headers`] what a front proxy says.

mod bootstrap_token;
mod certificates;
pub(crate) mod headers;
pub(crate) mod websocket;

use std::sync::Arc;

use admission::User;
use api::object::Object;
use api::status::Status;
use http::HeaderMap;

use crate::cache::Caches;
use crate::server::Config;
use crate::tokens::{self, Claims, TokenIssuer};

pub(crate) use certificates::Certificates;
pub use certificates::Shown;

/// Everyone who is anyone.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Everyone else, and the name that they have.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
pub(crate) const ANONYMOUS: &str = "system:anonymous";

/// See the module's text.
pub(crate) struct Authenticators {
    issuer: Arc<TokenIssuer>,
    static_tokens: Vec<(String, User)>,
    caches: Arc<Caches>,
}

/// The user that upstream gives to requests without credentials.
pub fn anonymous() -> User {
    User { name: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..User::default() }
}

impl Authenticators {
    pub(crate) fn new(config: &Config, caches: Arc<Caches>) -> Self {
        Self {
            issuer: Arc::clone(&config.token_issuer),
            static_tokens: config.static_tokens.clone(),
            caches,
        }
    }

    /// The user of a request on a connection that shows this.
    pub(crate) fn user(
        &self,
        headers: &HeaderMap,
        shown: &Shown,
        now: i64,
    ) -> Result<User, Status> {
        if shown.is_front_proxy
            && let Some(user) = headers::user(headers)
        {
            return Ok(user);
        }
        if let Some(user) = &shown.user {
            return Ok(user.clone());
        }
        let bearer = headers.get("authorization").and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match bearer {
            Some(token) => self.token_user(token, &[], now).ok_or_else(Status::unauthorized),
            None if shown.is_strange => Err(Status::unauthorized()),
            None => Ok(anonymous()),
        }
    }

    /// The user of a token that is good for one of the audiences (empty: for this server).
    pub(crate) fn token_user(&self, token: &str, audiences: &[String], now: i64) -> Option<User> {
        let known = self.static_tokens.iter().find(|(have, _)| same_secret(have, token));
        if let Some((_, user)) = known {
            return Some(user.clone());
        }
        if let Some((id, secret)) = bootstrap_token::parts(token) {
            let is_for_us = audiences.is_empty()
                || audiences.iter().any(|audience| audience == self.issuer.issuer());
            let name = bootstrap_token::secret_name(id);
            let object = self.caches.place("", "secrets").get("kube-system", &name)?.to_value();
            let now = jiff::Timestamp::from_second(now).ok()?;
            return bootstrap_token::user(&object, id, secret, now).filter(|_| is_for_us);
        }
        let claims = self.issuer.verify(token, now).ok()?;
        let good_for = |audience: &String| match audiences {
            [] => audience == self.issuer.issuer(),
            some => some.contains(audience),
        };
        if !claims.aud.iter().any(good_for) || !self.bound_objects_exist(&claims) {
            return None;
        }
        let private = &claims.kubernetes;
        Some(User {
            name: claims.sub.clone(),
            uid: private.serviceaccount.uid.clone(),
            groups: tokens::groups(&private.namespace),
            extra: tokens::extra(&claims),
        })
    }

    /// The audiences of a valid token; those that say none of their own are for this server.
    pub(crate) fn audiences(&self, token: &str, now: i64) -> Vec<String> {
        let own = |_| vec![self.issuer.issuer().to_owned()];
        self.issuer.verify(token, now).map_or_else(own, |claims| claims.aud)
    }

    /// A token dies with its account, and with the pod, secret or node that it is bound to.
    fn bound_objects_exist(&self, claims: &Claims) -> bool {
        let private = &claims.kubernetes;
        let lives = |plural: &str, reference: &tokens::Reference| {
            let found: Option<Arc<Object>> =
                self.caches.place("", plural).get(&private.namespace, &reference.name);
            found.is_some_and(|object| reference.uid.is_empty() || *object.uid == *reference.uid)
        };
        // The node of a pod is only told of; that of a token without a pod is what it is bound to.
        let node_lives = |node: &tokens::Reference| {
            let found = self.caches.place("", "nodes").get("", &node.name);
            found.is_some_and(|object| *object.uid == *node.uid)
        };
        lives("serviceaccounts", &private.serviceaccount)
            && private.pod.as_ref().is_none_or(|pod| lives("pods", pod))
            && private.secret.as_ref().is_none_or(|secret| lives("secrets", secret))
            && (private.pod.is_some() || private.node.as_ref().is_none_or(node_lives))
    }
}

/// Compares without telling by the time taken where two secrets differ.
fn same_secret(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes().zip(b.bytes()).fold(0u8, |differs, (a, b)| differs | (a ^ b)) == 0
}
