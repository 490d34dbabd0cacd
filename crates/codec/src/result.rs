//! What decoding gives back: the value and warnings, or why not.

use serde_json::Value;
use thiserror::Error;

use crate::limits::BODY_BYTES_MAX;

/// What to do about unknown and duplicate fields (the request option `fieldValidation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in a warning each; the default of the API.
    #[default]
    Warn,
    /// Refuse the body and name all of them.
    Strict,
}

/// A decoded body.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, without the fields that its schema does not know.
    pub value: Value,
    /// One text per unknown or duplicate field, for `Warning` headers. Only in [`Mode::Warn`].
    pub warnings: Vec<String>,
}

/// `apiVersion` and `kind` of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TypeMeta {
    /// Group and version, such as `apps/v1`; empty if absent.
    pub api_version: String,
    /// Kind; empty if absent.
    pub kind: String,
}

impl TypeMeta {
    /// The two halves of `apiVersion`; the core group is empty.
    pub fn group_version(&self) -> (&str, &str) {
        self.api_version.split_once('/').unwrap_or(("", &self.api_version))
    }
}

/// Why a body cannot be decoded. The texts are those of upstream's decoder.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The text is not well-formed JSON.
    #[error("{0}")]
    Syntax(String),
    /// The text is not well-formed YAML, or has what JSON cannot hold.
    #[error("error converting YAML to JSON: {0}")]
    Yaml(String),
    /// The bytes are no well-formed CBOR, or hold what JSON cannot hold.
    #[error("{0}")]
    Cbor(String),
    /// A value does not fit the type of its field.
    #[error("{0}")]
    Type(String),
    /// Unknown or duplicate fields in [`Mode::Strict`].
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
    /// The bytes are no protobuf message of the expected kind.
    #[error("{0}")]
    Protobuf(String),
    /// The body does not say its kind.
    #[error("Object 'Kind' is missing in '{0}'")]
    MissingKind(String),
    /// The body does not say its version.
    #[error("Object 'apiVersion' is missing in '{0}'")]
    MissingVersion(String),
    /// There are no field numbers for this kind: it has no protobuf form.
    #[error("no kind \"{kind}\" is registered for protobuf in version \"{api_version}\"")]
    UnknownKind {
        /// Group and version.
        api_version: String,
        /// Kind.
        kind: String,
    },
    /// The body is larger than any object may be.
    #[error("Request entity too large: limit is {BODY_BYTES_MAX}")]
    TooLarge,
}
