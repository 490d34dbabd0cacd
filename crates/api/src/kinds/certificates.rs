//! What the kinds about certificates share: names of signers, and the form of PEM text.

use super::check::{At, Faults};
use crate::name;

/// The group of these kinds.
pub(super) const GROUP: &str = "certificates.k8s.io";

/// Longest path of a signer's name.
const SIGNER_PATH_MAX: usize = 253;
const SIGNER_DOMAIN_MAX: usize = 253;

/// `domain/path` of a signer.
pub(super) fn signer_name(at: &At<'_>, faults: &mut Faults) {
    let text = at.text();
    if text.is_empty() {
        faults.required(at, "");
        return;
    }
    let Some((domain, path)) = text.split_once('/') else {
        faults.invalid(
            at,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
        return;
    };
    if path.contains('/') {
        faults.invalid(
            at,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
        return;
    }
    if let Err(fault) = name::subdomain(domain) {
        faults.invalid(at, format!("validating label \"{domain}\": {fault}"));
    } else if domain.len() > SIGNER_DOMAIN_MAX {
        faults.too_long(at, SIGNER_DOMAIN_MAX);
    } else if !domain.contains('.') {
        faults.invalid(at, "should be a domain with at least two segments separated by dots");
    }
    if let Err(fault) = name::subdomain(path) {
        faults.invalid(at, format!("validating label \"{path}\": {fault}"));
    } else if path.len() > SIGNER_PATH_MAX {
        faults.too_long(at, SIGNER_PATH_MAX);
    }
}

/// The types of the PEM blocks in a text, in order; `None` where a block has no end or no base64 in it.
pub(super) fn pem_blocks(text: &str) -> Option<Vec<&str>> {
    let mut kinds = Vec::new();
    let mut rest = text;
    while let Some((_, block)) = rest.split_once("-----BEGIN ") {
        let (kind, body) = block.split_once("-----")?;
        let end = format!("-----END {kind}-----");
        let (content, tail) = body.split_once(end.as_str())?;
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"+/= \r\n\t".contains(&b);
        if content.trim().is_empty() || !content.bytes().all(fits) {
            return None;
        }
        kinds.push(kind);
        rest = tail;
    }
    Some(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found() {
        let good = "x\n-----BEGIN A B-----\nZm9v\n-----END A B-----\n-----BEGIN C-----\nZg==\n-----END C-----\n";
        assert_eq!(pem_blocks(good), Some(vec!["A B", "C"]));
        assert_eq!(pem_blocks("nothing"), Some(Vec::new()));
        for bad in
            ["-----BEGIN A-----\nZm9v\n", "-----BEGIN A-----\n-----END A-----", "-----BEGIN A"]
        {
            assert_eq!(pem_blocks(bad), None, "{bad}");
        }
    }
}
