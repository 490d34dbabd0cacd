//! Tokens of service accounts for projected volumes: asked for per pod, kept until most of their life
//! has passed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use clock::Clock;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};
use parking_lot::Mutex;
use podlife::pod;
use serde_json::json;

use crate::limits::{TOKEN_AGE_MAX, TOKEN_REFRESH_SHARE};

/// A token could not be had.
#[derive(Debug, thiserror::Error)]
#[error("failed to fetch token: {0}")]
pub(crate) struct TokenError(String);

/// A token, and when to ask for the next one.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) refresh_at: Timestamp,
    expires: Timestamp,
}

type Key = (String, String, i64);

/// See the module's text; cheap to clone.
#[derive(Clone)]
pub(crate) struct Tokens {
    client: Client,
    clock: Clock,
    known: Arc<Mutex<HashMap<Key, Token>>>,
}

impl Tokens {
    pub(crate) fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock, known: Arc::default() }
    }

    /// The token of a projection.
    pub(crate) async fn get(
        &self,
        pod: &Pod,
        projection: &ServiceAccountTokenProjection,
    ) -> Result<Token, TokenError> {
        let audience = projection.audience.clone().unwrap_or_default();
        let seconds = projection.expiration_seconds.unwrap_or(3600);
        let key = (pod::uid(pod).to_owned(), audience.clone(), seconds);
        let now = self.clock.now();
        let known = self.known.lock().get(&key).cloned();
        if let Some(token) = &known
            && now < token.refresh_at
        {
            return Ok(token.clone());
        }
        match self.request(pod, &audience, seconds).await {
            Ok(token) => {
                self.known.lock().insert(key, token.clone());
                Ok(token)
            }
            // An old token that still holds is better than none; the next look tries again.
            Err(error) => known.filter(|token| now < token.expires).ok_or(error),
        }
    }

    async fn request(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<Token, TokenError> {
        let account = pod::spec(pod).service_account_name.as_deref().filter(|it| !it.is_empty());
        let account = account.unwrap_or("default");
        let namespace = pod::namespace(pod);
        let audiences: Vec<&str> = (!audience.is_empty()).then_some(audience).into_iter().collect();
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {
                "audiences": audiences, "expirationSeconds": seconds,
                "boundObjectRef": {"kind": "Pod", "apiVersion": "v1",
                    "name": pod::name(pod), "uid": pod::uid(pod)},
            },
        });
        let failed = |error: &dyn std::fmt::Display| TokenError(error.to_string());
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request = http::Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| failed(&error))?;
        let asked = self.clock.now();
        let answer: TokenRequest =
            self.client.kube().request(request).await.map_err(|error| failed(&error))?;
        let status =
            answer.status.ok_or_else(|| TokenError("the answer has no status".to_owned()))?;
        let missing = || TokenError("the answer has no token".to_owned());
        let expires = status.expiration_timestamp.ok_or_else(missing)?.0;
        let text = status.token.ok_or_else(missing)?;
        Ok(Token { text, refresh_at: refresh_at(asked, expires), expires })
    }

    /// Forgets the tokens of a pod.
    pub(crate) fn forget(&self, uid: &str) {
        self.known.lock().retain(|(owner, _, _), _| owner != uid);
    }
}

fn refresh_at(asked: Timestamp, expires: Timestamp) -> Timestamp {
    let life = Duration::try_from(expires.duration_since(asked)).unwrap_or_default();
    let pause = life.mul_f64(TOKEN_REFRESH_SHARE).min(TOKEN_AGE_MAX);
    asked.checked_add(pause).unwrap_or(expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_at_four_fifths_of_their_life() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(refresh_at(at(0), at(3600)), at(2880));
        assert_eq!(refresh_at(at(0), at(365 * 86_400)), at(86_400));
    }
}
