//! Tokens of service accounts: foreign texts, and claims of any shape under a good signature.

use std::sync::LazyLock;

use apiserver::tokens::{self, TokenIssuer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::{choice, with_choices};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "jwt",
    seeds: || {
        let claims = json!({
            "aud": [tokens::ISSUER], "exp": NOW + 60, "iat": NOW, "nbf": NOW, "iss": tokens::ISSUER, "jti": "1",
            "sub": "system:serviceaccount:default:web",
            "kubernetes.io": {"namespace": "default", "pod": {"name": "web", "uid": "1"},
                "node": {"name": "n"}, "serviceaccount": {"name": "web", "uid": "2"}}})
        .to_string();
        let head = BASE64.encode(r#"{"alg":"ES256","typ":"JWT","kid":"x"}"#);
        let text = format!("{head}.{}.{}", BASE64.encode(&claims), BASE64.encode([7; 64]));
        with_choices(2, &[claims.into_bytes(), text.into_bytes()])
    },
    words: &[
        "\"aud\":[",
        "\"exp\":",
        "\"nbf\":-1",
        "\"iss\":",
        "\"kubernetes.io\":{",
        "\"serviceaccount\":{",
        "null",
        "1e999",
        "9223372036854775807",
        "eyJhbGciOiJub25lIn0",
        "eyJhbGciOiJIUzI1NiJ9",
        ".",
        "=",
        "-_",
    ],
    input_bytes_max: 8 << 10,
    test_mutations: 300,
    run,
};

const NOW: i64 = 1_800_000_000;

/// The key is another in every process: signatures are the target's own to make.
static KEY: LazyLock<Option<(TokenIssuer, EncodingKey)>> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().ok()?;
    let issuer = TokenIssuer::new(key.serialized_der(), key.public_key_raw()).ok()?;
    Some((issuer, EncodingKey::from_ec_der(key.serialized_der())))
});

fn run(input: &[u8]) {
    let (choice, body) = choice(input);
    let Some((issuer, key)) = &*KEY else { panic!("no key can be made") };
    let Ok(text) = std::str::from_utf8(body) else { return };
    if choice % 2 == 0 {
        let Ok(claims) = codec::json::decode_any(body) else { return };
        let Ok(token) = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, key) else {
            return;
        };
        if let Ok(claims) = issuer.verify(&token, NOW) {
            assert!(
                claims.exp > NOW && claims.iss == issuer.issuer(),
                "only what is valid is taken"
            );
            let _extra = tokens::extra(&claims);
            let _groups = tokens::groups(&claims.kubernetes.namespace);
        }
    } else {
        assert!(issuer.verify(text, NOW).is_err(), "nobody else can sign: {text}");
    }
}
