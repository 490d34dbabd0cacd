//! What a runtime call can fail with: the gRPC codes that CRI gives a meaning to. Not here: how the
//! kubelet words the failure in events and statuses.

use std::fmt;

/// The result of every call of the interface.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The prefix of an image pull's message that tells the kubelet that the registry did not answer
/// (`ErrRegistryUnavailable` in `cri-api/pkg/errors`).
pub const REGISTRY_UNAVAILABLE: &str = "RegistryUnavailable";

/// The prefix of an image pull's message after which the kubelet reports a bad signature.
pub const SIGNATURE_VALIDATION_FAILED: &str = "SignatureValidationFailed";

/// A failed call: a gRPC code and a message that says what was attempted on what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The sandbox, container or image does not exist.
    #[error("{0}")]
    NotFound(String),
    /// It exists already, with another content.
    #[error("{0}")]
    AlreadyExists(String),
    /// The request contradicts itself or the interface; the same request never succeeds.
    #[error("{0}")]
    InvalidArgument(String),
    /// Something that the runtime depends on does not answer; the same request may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// The time that the request allows ran out.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// The object is in a state in which this cannot be done (exec into a container that has exited).
    #[error("{0}")]
    FailedPrecondition(String),
    /// The caller may not have it (a registry that refuses the credentials).
    #[error("{0}")]
    PermissionDenied(String),
    /// The runtime does not do this.
    #[error("{0}")]
    Unimplemented(String),
    /// Anything else.
    #[error("{0}")]
    Internal(String),
}

/// The gRPC status code of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 2
    Unknown,
    /// 3
    InvalidArgument,
    /// 4
    DeadlineExceeded,
    /// 5
    NotFound,
    /// 6
    AlreadyExists,
    /// 7
    PermissionDenied,
    /// 9
    FailedPrecondition,
    /// 12
    Unimplemented,
    /// 14
    Unavailable,
}

impl Error {
    /// The gRPC code; `Internal` maps to `Unknown`, which is what containerd answers for an error without
    /// a code of its own.
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound(_) => Code::NotFound,
            Self::AlreadyExists(_) => Code::AlreadyExists,
            Self::InvalidArgument(_) => Code::InvalidArgument,
            Self::Unavailable(_) => Code::Unavailable,
            Self::DeadlineExceeded(_) => Code::DeadlineExceeded,
            Self::FailedPrecondition(_) => Code::FailedPrecondition,
            Self::PermissionDenied(_) => Code::PermissionDenied,
            Self::Unimplemented(_) => Code::Unimplemented,
            Self::Internal(_) => Code::Unknown,
        }
    }

    /// Whether the object is absent; deleting something absent is a success for most callers.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Whether the time of the request ran out (an exec probe that timed out, for example).
    pub fn is_deadline_exceeded(&self) -> bool {
        matches!(self, Self::DeadlineExceeded(_))
    }

    /// The text that a user of upstream reads in an event: `rpc error: code = NotFound desc = …`.
    pub fn rpc_text(&self) -> String {
        format!("rpc error: code = {} desc = {self}", self.code())
    }

    /// An [`Error::Internal`] that shows `error` and all its sources.
    pub fn internal(context: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Internal(format!("{context}: {}", chain(error)))
    }
}

/// `error` and its sources in one line, joined with `: `.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_the_grpc_client() {
        let error = Error::NotFound("no such container".to_owned());
        assert_eq!(error.rpc_text(), "rpc error: code = NotFound desc = no such container");
        assert!(error.is_not_found());
        assert_eq!(
            Error::Internal("x".to_owned()).rpc_text(),
            "rpc error: code = Unknown desc = x"
        );
    }
}
