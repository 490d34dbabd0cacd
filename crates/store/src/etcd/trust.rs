//! Trust between the store and etcd: what certificates and TLS say, in terms of the settings.
//!
//! Certificates are looked at before anybody is asked; what a member or the handshake says afterwards is told
//! by the setting that has to change. The settings bear their names on the command line. No I/O.

use jiff::Timestamp;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::options::EtcdOptions;
use crate::StoreError;

/// What the labels of certificates and of private keys are, or end with.
const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// What a member says by an alert when it does not like the client's certificate, or misses one.
const REFUSALS: [&str; 8] = [
    "CertificateRequired",
    "BadCertificate",
    "UnsupportedCertificate",
    "CertificateRevoked",
    "CertificateExpired",
    "CertificateUnknown",
    "UnknownCA",
    "AccessDenied",
];

/// Looks at the certificates and the key.
///
/// # Errors
/// One is not there, cannot be read or is out of date; the error names the setting.
pub(super) fn check(options: &EtcdOptions) -> Result<(), StoreError> {
    let now = options.clock.now();
    let checked = || {
        if let Some(authority) = &options.authority_pem {
            certificates("etcd-cafile", authority, now)?;
        }
        if let Some((certificate, key)) = &options.identity_pem {
            certificates("etcd-certfile", certificate, now)?;
            let has_key =
                blocks("etcd-keyfile", key)?.iter().any(|block| block.label.ends_with(PRIVATE_KEY));
            if !has_key {
                return Err("etcd-keyfile has no private key in it".to_owned());
            }
        }
        Ok(())
    };
    checked().map_err(|reason| StoreError::InvalidOption { reason })
}

fn blocks(setting: &str, text: &str) -> Result<Vec<Pem>, String> {
    let blocks = Pem::iter_from_buffer(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    blocks.map_err(|error| format!("{setting} is not PEM: {error}"))
}

/// The first certificate has to be in order: of a client's it is its own, the others are its authorities'.
fn certificates(setting: &str, text: &str, now: Timestamp) -> Result<(), String> {
    let blocks = blocks(setting, text)?;
    let first = blocks.iter().find(|block| block.label == CERTIFICATE);
    let first = first.ok_or_else(|| format!("{setting} has no certificate in it"))?;
    let (_, certificate) = X509Certificate::from_der(&first.contents)
        .map_err(|error| format!("{setting} has no readable certificate in it: {error}"))?;
    let (validity, subject) = (certificate.validity(), certificate.subject());
    if now.as_second() > validity.not_after.timestamp() {
        return Err(format!(
            "{setting}: the certificate of {subject} expired on {}",
            validity.not_after
        ));
    }
    if now.as_second() < validity.not_before.timestamp() {
        return Err(format!(
            "{setting}: the certificate of {subject} is not valid before {}",
            validity.not_before
        ));
    }
    Ok(())
}

/// What TLS could not be set up for, before any connection.
pub(super) fn unusable(words: &str) -> Option<&'static str> {
    let says = |text: &str| words.contains(text);
    (says("InconsistentKeys") || says("keys may not be consistent"))
        .then_some("etcd-keyfile is not the key of the certificate in etcd-certfile")
}

/// What has to change, where `words` of a failed connection to `server` are about trust.
pub(super) fn explain(words: &str, server: &str, options: &EtcdOptions) -> Option<String> {
    let says = |text: &str| words.contains(text);
    if says("UnknownIssuer") || says("BadSignature") || says("CaUsedAsEndEntity") {
        return Some(match options.authority_pem {
            Some(_) => {
                format!("etcd-cafile: no authority in it has signed the certificate of {server}")
            }
            None => format!("etcd-cafile is missing: nobody vouches for {server}"),
        });
    }
    if says("invalid peer certificate") && says("expired") {
        return Some(format!("etcd-servers: the certificate of {server} has expired"));
    }
    if says("NotValidForName") || says("not valid for name") {
        return Some(format!("etcd-servers: the certificate of {server} is for another name"));
    }
    if says("invalid peer certificate") {
        return Some(format!("etcd-servers: the certificate of {server} is of no use"));
    }
    let refused = says("received fatal alert") && REFUSALS.iter().any(|alert| says(alert));
    refused.then(|| match options.identity_pem {
        Some(_) => format!("etcd-certfile: {server} does not accept this certificate of a client"),
        None => {
            format!("etcd-certfile and etcd-keyfile are missing: {server} wants to see a client's")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> EtcdOptions {
        EtcdOptions::new(vec!["https://e1:2379".to_owned()], "/t/")
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        let mut options = options();
        options.authority_pem = Some("nothing".to_owned());
        let said = check(&options).unwrap_err().to_string();
        assert_eq!(said, "etcd-cafile has no certificate in it");
        options.authority_pem = None;
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        options.identity_pem = Some((key.to_owned(), key.to_owned()));
        let said = check(&options).unwrap_err().to_string();
        assert_eq!(said, "etcd-certfile has no certificate in it");
    }

    #[test]
    fn what_tls_says_is_told_by_the_setting() {
        let mut with_all = options();
        with_all.authority_pem = Some(String::new());
        with_all.identity_pem = Some((String::new(), String::new()));
        let none = options();
        for (words, with, without) in [
            ("invalid peer certificate: UnknownIssuer", "etcd-cafile: ", "etcd-cafile is missing"),
            ("invalid peer certificate: certificate expired", "etcd-servers: ", "etcd-servers: "),
            ("received fatal alert: BadCertificate", "etcd-certfile: ", "etcd-certfile and"),
        ] {
            for (options, expected) in [(&with_all, with), (&none, without)] {
                let said = explain(words, "https://e1:2379", options).unwrap();
                assert!(said.starts_with(expected) && said.contains("https://e1:2379"), "{said}");
            }
        }
        assert_eq!(explain("connection refused", "https://e1:2379", &none), None);
    }
}
