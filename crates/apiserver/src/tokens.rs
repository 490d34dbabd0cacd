//! Service-account tokens: signed and checked with one P-256 key (ES256).

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// The issuer that upstream's components and users expect of a cluster without a public name.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Prefix of the user names of service accounts.
pub const USER_PREFIX: &str = "system:serviceaccount:";

/// What a token says (KEP-1205).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Audiences.
    pub aud: Vec<String>,
    /// End of validity, seconds since 1970.
    pub exp: i64,
    /// Time of issue.
    pub iat: i64,
    /// Issuer.
    pub iss: String,
    /// Unique id.
    pub jti: String,
    /// The private part.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Private,
    /// Start of validity.
    pub nbf: i64,
    /// User name.
    pub sub: String,
}

/// What a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    /// Namespace of the account.
    pub namespace: String,
    /// Node of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// Pod that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// Secret that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account.
    pub serviceaccount: Reference,
}

/// An object by name and UID.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Name.
    pub name: String,
    /// UID; empty where it was not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// Why a token could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key is not a P-256 key.
    #[error("cannot read the service account key")]
    Key(#[source] jsonwebtoken::errors::Error),
    /// Signing failed.
    #[error("cannot sign a token")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// The token is not ours, or not valid now.
    #[error("the token is not valid")]
    Invalid(#[source] jsonwebtoken::errors::Error),
}

/// Signs and checks tokens.
pub struct TokenIssuer {
    signing: EncodingKey,
    checking: DecodingKey,
    key_id: String,
    issuer: String,
    public_point: Vec<u8>,
}

impl std::fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenIssuer({})", self.key_id)
    }
}

impl TokenIssuer {
    /// An issuer with a P-256 key: the private key as PKCS#8 DER, the public key as an uncompressed
    /// point (65 bytes, `04 x y`).
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn new(private_der: &[u8], public_point: &[u8]) -> Result<Self, TokenError> {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
        use sha2::Digest as _;
        let signing = EncodingKey::from_ec_der(private_der);
        let coordinates = public_point.get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        let checking = DecodingKey::from_ec_components(&BASE64.encode(x), &BASE64.encode(y))
            .map_err(TokenError::Key)?;
        let key_id = BASE64.encode(sha2::Sha256::digest(public_point));
        Ok(Self {
            signing,
            checking,
            key_id,
            issuer: ISSUER.to_owned(),
            public_point: public_point.to_vec(),
        })
    }

    /// The issuer's name: also the audience of the API server itself.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public key as a JSON web key set.
    pub fn key_set(&self) -> serde_json::Value {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
        let coordinates = self.public_point.get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        serde_json::json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        }]})
    }

    /// Signs.
    ///
    /// # Errors
    /// Signing failed.
    pub fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        header.typ = None;
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(TokenError::Sign)
    }

    /// Checks signature, issuer and, at `now` (seconds since 1970), validity. Audiences and the objects
    /// that the token is bound to are the caller's to check.
    ///
    /// # Errors
    /// The token is not ours, or not valid now.
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenError> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_aud = false;
        validation.validate_exp = false;
        validation.set_issuer(&[&self.issuer]);
        let data = jsonwebtoken::decode::<Claims>(token, &self.checking, &validation)
            .map_err(TokenError::Invalid)?;
        if data.claims.exp <= now || data.claims.nbf > now + LEEWAY_SECONDS {
            use jsonwebtoken::errors::ErrorKind;
            return Err(TokenError::Invalid(ErrorKind::ExpiredSignature.into()));
        }
        Ok(data.claims)
    }
}

/// Clocks of servers may differ by this much.
const LEEWAY_SECONDS: i64 = 10;

/// The groups of every service account of a namespace.
pub fn groups(namespace: &str) -> Vec<String> {
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ]
}

/// What a token adds to the user beside name and groups.
pub fn extra(claims: &Claims) -> BTreeMap<String, Vec<String>> {
    let mut extra = BTreeMap::new();
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    put("credential-id", &format!("JTI={}", claims.jti));
    for (key, reference) in [("pod", &claims.kubernetes.pod), ("node", &claims.kubernetes.node)] {
        if let Some(reference) = reference {
            put(&format!("{key}-name"), &reference.name);
            put(&format!("{key}-uid"), &reference.uid);
        }
    }
    extra
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn issuer() -> TokenIssuer {
        let key = rcgen::KeyPair::generate().unwrap();
        TokenIssuer::new(key.serialized_der(), key.public_key_raw()).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            aud: vec![ISSUER.to_owned()],
            exp: NOW + 3600,
            iat: NOW,
            iss: ISSUER.to_owned(),
            jti: "id".to_owned(),
            kubernetes: Private { namespace: "default".to_owned(), ..Private::default() },
            nbf: NOW,
            sub: "system:serviceaccount:default:default".to_owned(),
        }
    }

    #[test]
    fn a_token_holds_for_its_time_and_its_issuer() {
        let issuer_one = issuer();
        let token = issuer_one.sign(&claims()).unwrap();
        assert_eq!(issuer_one.verify(&token, NOW).unwrap(), claims());
        assert!(issuer_one.verify(&token, NOW - LEEWAY_SECONDS).is_ok());
        for now in [NOW - LEEWAY_SECONDS - 1, NOW + 3600] {
            assert!(issuer_one.verify(&token, now).is_err(), "{now}");
        }
        assert!(issuer().verify(&token, NOW).is_err());
        let foreign = issuer_one.sign(&Claims { iss: "other".to_owned(), ..claims() }).unwrap();
        assert!(issuer_one.verify(&foreign, NOW).is_err());
    }

    #[test]
    fn no_other_algorithm_is_taken() {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
        let issuer = issuer();
        let token = issuer.sign(&claims()).unwrap();
        let rest = token.split_once('.').unwrap().1;
        for algorithm in ["none", "HS256", "RS256"] {
            let head = BASE64.encode(format!(r#"{{"alg":"{algorithm}"}}"#));
            assert!(issuer.verify(&format!("{head}.{rest}"), NOW).is_err(), "{algorithm}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_tokens_are_refused(text in ".{0,80}", parts in "[a-zA-Z0-9_.-]{0,200}") {
            let issuer = issuer();
            prop_assert!(issuer.verify(&text, NOW).is_err());
            prop_assert!(issuer.verify(&parts, NOW).is_err());
        }

        #[test]
        fn a_damaged_token_is_refused(at in 0_usize..1000, with in "[a-zA-Z0-9_-]") {
            let issuer = issuer();
            let token = issuer.sign(&claims()).unwrap();
            // The signature is over the text of the other parts, every character of it.
            let at = at % token.rfind('.').unwrap();
            let damaged = format!("{}{with}{}", &token[..at], &token[at + 1..]);
            if damaged != token {
                prop_assert!(issuer.verify(&damaged, NOW).is_err(), "{at}");
            }
        }
    }
}
