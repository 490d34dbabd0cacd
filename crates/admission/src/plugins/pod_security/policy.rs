//! Levels, versions and modes, as the labels of a namespace say them.

use std::fmt;

use api::field::{Error, Path};

/// How strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Everything goes.
    Privileged,
    /// Known ways out of the container are closed.
    Baseline,
    /// Hardened.
    Restricted,
}

impl Level {
    fn text(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Privileged, Self::Baseline, Self::Restricted].into_iter().find(|l| l.text() == text)
    }
}

/// The minor version whose checks count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// `v1.N`.
    Minor(u32),
    /// `latest`.
    Latest,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let minor = text.strip_prefix("v1.")?;
        let canonical = minor == "0" || !minor.starts_with(['0', '+']);
        minor.parse().ok().filter(|_| canonical).map(Self::Minor)
    }
}

/// A level at a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Version::Latest => write!(f, "{}:latest", self.level.text()),
            Version::Minor(minor) => write!(f, "{}:v1.{minor}", self.level.text()),
        }
    }
}

/// What a namespace enforces, warns of, and wants noted in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) audit: Standard,
    pub(super) warn: Standard,
}

impl Policy {
    /// Whether no mode asks for anything.
    pub(super) fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|mode| mode.level == Level::Privileged)
    }

    /// Reads the labels. A faulty one is reported, and taken as the strictest where it is enforced, as
    /// nothing where it only warns.
    pub(super) fn read<'a>(label: impl Fn(&str) -> Option<&'a str>) -> (Self, Vec<Error>) {
        let mut faults = Vec::new();
        let (enforce, has_level) = mode("enforce", Level::Restricted, &label, &mut faults);
        let (audit, _) = mode("audit", Level::Privileged, &label, &mut faults);
        let (mut warn, _) = mode("warn", Level::Privileged, &label, &mut faults);
        let warns = label("pod-security.kubernetes.io/warn").is_some();
        if !warns && has_level && enforce.level > warn.level {
            warn.level = enforce.level;
            if label("pod-security.kubernetes.io/warn-version").is_none() {
                warn.version = enforce.version;
            }
        }
        (Self { enforce, audit, warn }, faults)
    }
}

/// One mode, and whether its level was given in good form.
fn mode<'a>(
    name: &str,
    on_fault: Level,
    label: &impl Fn(&str) -> Option<&'a str>,
    faults: &mut Vec<Error>,
) -> (Standard, bool) {
    let mut standard = Standard { level: Level::Privileged, version: Version::Latest };
    let mut has_level = false;
    let mut fault = |key: &str, value: &str, why: &str| {
        let path = Path::new("metadata").child("labels").key(key);
        faults.push(Error::invalid(&path, value, why));
    };
    let key = format!("pod-security.kubernetes.io/{name}");
    if let Some(text) = label(&key) {
        has_level = Level::parse(text).is_some();
        standard.level = Level::parse(text).unwrap_or(on_fault);
        if !has_level {
            fault(&key, text, "must be one of privileged, baseline, restricted");
        }
    }
    let key = format!("{key}-version");
    if let Some(text) = label(&key) {
        standard.version = Version::parse(text).unwrap_or(Version::Latest);
        if Version::parse(text).is_none() {
            fault(&key, text, "must be \"latest\" or \"v1.x\"");
        }
    }
    (standard, has_level)
}
