//! The text with which an agent joins: a secret, and what tells the right server from a wrong one.

use std::fmt;

use anyhow::bail;

/// What marks a token that names its cluster's authority.
const MARK: &str = "K10";
/// Hex digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// `K10<digest>::<secret>`, or the secret alone.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct JoinToken {
    /// SHA-256 of the certificate of the authority that signs the server's, in hex.
    pub(crate) digest: Option<String>,
    /// What the server knows.
    pub(crate) secret: String,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl JoinToken {
    /// Reads a token.
    ///
    /// # Errors
    /// It begins like one with a digest and has none.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        let whole = text.strip_prefix(MARK).and_then(|rest| rest.split_once("::"));
        let Some((digest, secret)) = whole else {
            if text.is_empty() {
                bail!("the token is empty");
            }
            return Ok(Self { digest: None, secret: text.to_owned() });
        };
        let is_digest =
            digest.len() == DIGEST_DIGITS && digest.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_digest || secret.is_empty() {
            bail!("the token is not whole: expected {MARK}<{DIGEST_DIGITS} hex digits>::<secret>");
        }
        Ok(Self { digest: Some(digest.to_ascii_lowercase()), secret: secret.to_owned() })
    }

    /// The token as text; it is a secret.
    pub(crate) fn text(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{MARK}{digest}::{}", self.secret),
            None => self.secret.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_and_written() {
        let digest = "ab".repeat(32);
        let whole = format!("K10{digest}::s::x");
        let token = JoinToken::parse(&format!(" {whole}\n")).unwrap();
        assert_eq!((token.digest.as_deref(), &*token.secret), (Some(&*digest), "s::x"));
        assert_eq!(token.text(), whole);
        assert!(!format!("{token:?}").contains("s::x"));
        let bare = JoinToken::parse("secret").unwrap();
        assert_eq!((bare.digest.as_deref(), &*bare.text()), (None, "secret"));
        for bad in ["", "K10ab::s", &format!("K10{digest}::"), &format!("K10{}g::s", &digest[1..])]
        {
            assert!(JoinToken::parse(bad).is_err(), "{bad}");
        }
    }
}
