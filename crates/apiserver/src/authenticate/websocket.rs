//! Browsers cannot set headers of a WebSocket: they send a token as one of its protocols.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};

/// What stands before the token, which is in base64url without padding.
const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// Moves a token from the protocols to where tokens are looked for. One that cannot be read, a second one, and one
/// without a protocol beside it are no token that anybody has.
pub(crate) fn move_token(headers: &mut HeaderMap) {
    let is_websocket = headers.get(UPGRADE).is_some_and(|it| it == "websocket");
    if !is_websocket || headers.contains_key(AUTHORIZATION) {
        return;
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|it| it.to_str().ok());
    let offered = offered.flat_map(|it| it.split(',').map(str::trim));
    let (hidden, others): (Vec<&str>, Vec<&str>) = offered.partition(|it| it.starts_with(PREFIX));
    if hidden.is_empty() {
        return;
    }
    let token = token(&hidden).filter(|_| !others.is_empty()).unwrap_or_default();
    let others = HeaderValue::try_from(others.join(", "));
    // Without characters that no header may have there is no token that could be one.
    let bearer = HeaderValue::try_from(format!("Bearer {token}"));
    headers.insert(AUTHORIZATION, bearer.unwrap_or(HeaderValue::from_static("Bearer")));
    if let Ok(others) = others {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, others);
    }
}

fn token(hidden: &[&str]) -> Option<String> {
    let [only] = hidden else { return None };
    let token = URL_SAFE_NO_PAD.decode(only.strip_prefix(PREFIX)?).ok()?;
    String::from_utf8(token).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_among_the_protocols_is_one_of_the_request() {
        let hidden = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode("a.b"));
        let cases = [
            (format!("{hidden}, v4.channel.k8s.io"), Some("Bearer a.b"), "v4.channel.k8s.io"),
            (format!("x,{hidden},y"), Some("Bearer a.b"), "x, y"),
            (format!("{hidden}, {hidden}, x"), Some("Bearer "), "x"),
            (format!("{PREFIX}?, x"), Some("Bearer "), "x"),
            (hidden, Some("Bearer "), ""),
            ("x".to_owned(), None, "x"),
        ];
        for (offered, bearer, left) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_PROTOCOL, offered.parse().unwrap());
            move_token(&mut headers);
            let text = |name| headers.get(&name).and_then(|it| it.to_str().ok());
            assert_eq!(text(AUTHORIZATION), bearer, "{offered}");
            assert_eq!(text(SEC_WEBSOCKET_PROTOCOL), Some(left), "{offered}");
        }
    }
}
