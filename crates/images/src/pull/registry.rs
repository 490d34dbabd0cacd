//! One registry, seen by one pull. Every answer has a bound in size and time.

use std::io;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;

use super::{Credentials, RegistryOptions};
use crate::limits::{MANIFEST_BYTES_MAX, MANIFEST_TIMEOUT};
use crate::manifest::Descriptor;
use crate::{Digest, Error, Reference};

const ACCEPTED: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

pub(super) struct Registry {
    client: oci_client::Client,
    image: oci_client::Reference,
    auth: RegistryAuth,
    name: String,
    silence: Duration,
}

impl Registry {
    /// A client for the registry of `name`; nothing is sent yet.
    pub(super) fn connect(
        name: &Reference,
        options: &RegistryOptions,
        credentials: &Credentials,
    ) -> Result<Self, Error> {
        install_crypto();
        let plain = name.is_local() || options.plain_http.iter().any(|r| r == name.registry());
        let certificate =
            |pem: &Vec<u8>| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone() };
        let config = ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            extra_root_certificates: options.extra_certificates.iter().map(certificate).collect(),
            connect_timeout: Some(options.connect_timeout),
            read_timeout: Some(options.silence_timeout),
            user_agent: concat!("keelson/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = oci_client::Client::try_from(config).map_err(|error| Error::Unavailable {
            reference: name.to_string(),
            message: error.to_string(),
        })?;
        let image = match (name.digest(), name.tag()) {
            (Some(digest), _) => oci_client::Reference::with_digest(
                name.registry().to_owned(),
                name.repository().to_owned(),
                digest.to_string(),
            ),
            (None, tag) => oci_client::Reference::with_tag(
                name.registry().to_owned(),
                name.repository().to_owned(),
                tag.unwrap_or("latest").to_owned(),
            ),
        };
        let auth = match credentials.clone() {
            Credentials::Anonymous => RegistryAuth::Anonymous,
            Credentials::Basic { username, password } => RegistryAuth::Basic(username, password),
            Credentials::Bearer(token) => RegistryAuth::Bearer(token),
        };
        Ok(Self { client, image, auth, name: name.to_string(), silence: options.silence_timeout })
    }

    /// The manifest that the name means, or the one with this digest; its digest is computed here.
    pub(super) async fn manifest(
        &self,
        digest: Option<&Digest>,
    ) -> Result<(Vec<u8>, Digest), Error> {
        let image = match digest {
            Some(digest) => self.image.clone_with_digest(digest.to_string()),
            None => self.image.clone(),
        };
        let request = self.client.pull_manifest_raw(&image, &self.auth, ACCEPTED);
        let answer = tokio::time::timeout(MANIFEST_TIMEOUT.min(self.silence * 2), request).await;
        let (bytes, _) = answer
            .map_err(|_| self.unavailable("the registry does not answer"))?
            .map_err(|error| self.error(error))?;
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(self.bad("the manifest is too large"));
        }
        let digest = Digest::of(&bytes);
        Ok((bytes.to_vec(), digest))
    }

    /// A whole blob of at most `limit` bytes.
    pub(super) async fn blob_bytes(
        &self,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, Error> {
        let mut stream = self.blob(descriptor).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| self.stream_error(&error))?);
            if bytes.len() as u64 > limit {
                return Err(self.bad(format!("{} is too large", descriptor.digest)));
            }
        }
        let found = Digest::of(&bytes);
        if found != descriptor.digest {
            let (what, expected) = ("blob".to_owned(), descriptor.digest.clone());
            return Err(Error::Digest { what, expected, found });
        }
        Ok(bytes)
    }

    /// A blob in pieces. The digest is for the caller to check.
    pub(super) async fn blob(
        &self,
        descriptor: &Descriptor,
    ) -> Result<
        BoxStream<'static, io::Result<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]>>>,
        Error,
    > {
        let layer = OciDescriptor {
            digest: descriptor.digest.to_string(),
            media_type: descriptor.media_type.clone(),
            size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        let request = self.client.pull_blob_stream(&self.image, &layer);
        let answer = tokio::time::timeout(self.silence, request).await;
        let stream = answer
            .map_err(|_| self.unavailable("the registry does not answer"))?
            .map_err(|error| self.error(error))?;
        Ok(stream.stream)
    }

    /// An answer that is no image.
    pub(super) fn bad(&self, message: impl Into<String>) -> Error {
        Error::BadAnswer { reference: self.name.clone(), message: message.into() }
    }

    fn unavailable(&self, message: impl Into<String>) -> Error {
        Error::Unavailable { reference: self.name.clone(), message: message.into() }
    }

    /// An error in the middle of a blob: the client's check of the digest, or the connection.
    pub(super) fn stream_error(&self, error: &io::Error) -> Error {
        let text = chain(error);
        if text.to_lowercase().contains("digest") { self.bad(text) } else { self.unavailable(text) }
    }

    fn error(&self, error: OciDistributionError) -> Error {
        let reference = self.name.clone();
        let message = chain(&error);
        match error {
            OciDistributionError::RegistryError { envelope, .. } => {
                let has = |codes: &[OciErrorCode]| {
                    envelope.errors.iter().any(|error| codes.contains(&error.code))
                };
                if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                    Error::Denied { reference, message }
                } else if has(&[
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::NotFound,
                ]) {
                    Error::NoSuchImage { reference }
                } else {
                    Error::BadAnswer { reference, message }
                }
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => {
                Error::Denied { reference, message }
            }
            OciDistributionError::ImageManifestNotFoundError(_) => Error::NoSuchImage { reference },
            OciDistributionError::ServerError { code: 404, .. } => Error::NoSuchImage { reference },
            OciDistributionError::ServerError { code: 401 | 403, .. } => {
                Error::Denied { reference, message }
            }
            OciDistributionError::RequestError(_)
            | OciDistributionError::ServerError { .. }
            | OciDistributionError::IoError(_) => Error::Unavailable { reference, message },
            _ => Error::BadAnswer { reference, message },
        }
    }
}

/// The program uses one crypto provider; whoever comes first makes it the default.
fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Losing the race to another thread leaves the same provider in place.
        let _lost = rustls::crypto::ring::default_provider().install_default();
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}
