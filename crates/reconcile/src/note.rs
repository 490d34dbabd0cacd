//! What a controller has to tell the user about an object; the loop makes an Event of it.

use std::borrow::Cow;

/// Something to tell the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it is a warning.
    pub warning: bool,
    /// One word.
    pub reason: Cow<'static, str>,
    /// One sentence.
    pub message: String,
}

impl Note {
    pub(crate) fn normal(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.into(), message: message.into() }
    }

    pub(crate) fn warning(
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { warning: true, ..Self::normal(reason, message) }
    }
}
