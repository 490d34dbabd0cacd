//! What can go wrong with images, told apart as far as the kubelet's reasons need it.

use std::io;
use std::path::PathBuf;

use crate::{Digest, InvalidName};

/// A failed operation on images.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// No such image in the store.
    #[error("image {0:?} not found")]
    NotFound(String),
    /// The registry does not know the image.
    #[error("failed to resolve reference {reference:?}: {reference}: not found")]
    NoSuchImage {
        /// Name asked for.
        reference: String,
    },
    /// The registry refuses the credentials, or wants some.
    #[error(
        "failed to resolve reference {reference:?}: pull access denied, repository does not exist or may \
         require authorization: {message}"
    )]
    Denied {
        /// Name asked for.
        reference: String,
        /// The registry's words.
        message: String,
    },
    /// The registry does not answer, or not in time.
    #[error("failed to pull {reference:?}: {message}")]
    Unavailable {
        /// Name asked for.
        reference: String,
        /// What happened.
        message: String,
    },
    /// The registry answers something that is no image.
    #[error("failed to pull {reference:?}: {message}")]
    BadAnswer {
        /// Name asked for.
        reference: String,
        /// What is wrong.
        message: String,
    },
    /// The image has no variant for this machine.
    #[error("no match for platform in manifest: {0}")]
    NoPlatform(String),
    /// Bytes that are not what their digest says.
    #[error("{what}: unexpected digest {found}, expected {expected}")]
    Digest {
        /// Blob, layer, manifest.
        what: String,
        /// What the manifest says.
        expected: Digest,
        /// What arrived.
        found: Digest,
    },
    /// A layer that tries to write outside its root, or otherwise is no layer.
    #[error("layer {layer}: {problem}")]
    Layer {
        /// Digest of the unpacked layer.
        layer: Digest,
        /// What is wrong with it.
        #[source]
        problem: LayerProblem,
    },
    /// An archive that holds no image that can be read.
    #[error("archive: {0}")]
    Archive(String),
    /// JSON that cannot be read.
    #[error("{what}")]
    Json {
        /// Which document.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The disk.
    #[error("{action} {path}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A thread that did not come back.
    #[error("internal: {0}")]
    Internal(String),
}

/// What is wrong with a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerProblem {
    /// An entry that would land outside the root.
    #[error("entry {entry:?} tries to write outside its root")]
    Escape {
        /// Name of the entry.
        entry: String,
    },
    /// An entry that cannot be made.
    #[error("entry {entry:?}: {action}")]
    Entry {
        /// Name of the entry.
        entry: String,
        /// What was attempted.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A name that no file can have.
    #[error("entry {entry:?} has a name that no file can have")]
    Name {
        /// Name of the entry.
        entry: String,
    },
    /// More than a bound allows.
    #[error("more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The archive or its compression is damaged.
    #[error("damaged archive")]
    Damaged(#[source] io::Error),
}

impl Error {
    /// An [`Error::Io`] closure for `map_err`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// An [`Error::Json`] closure for `map_err`.
    pub(crate) fn json(what: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let what = what.into();
        move |source| Self::Json { what, source }
    }
}
