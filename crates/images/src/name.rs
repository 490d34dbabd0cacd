//! Names of images as users write them and as they are stored.
//!
//! The grammar is that of `distribution/reference`; short names are completed the way docker and containerd
//! do it: `busybox` is `docker.io/library/busybox:latest`.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";
const NAME_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;

/// A complete name: registry, repository, and tag or digest or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Text that is no image name; the wording is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// Upper-case letters in the repository.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// Looks like an id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// Too long.
    #[error("repository name must not be more than 255 characters")]
    Length,
}

impl Reference {
    /// Host and port of the registry, as in the name (`docker.io`).
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Repository within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// `name:tag`, when there is a tag.
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// `name@digest` with the given digest.
    pub fn with_digest(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.name())
    }

    /// Whether the registry is on this machine, so that plain HTTP is what it speaks.
    pub fn is_local(&self) -> bool {
        let host = match self.registry.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.registry.split(':').next().unwrap_or_default(),
        };
        host == "localhost" || host == "::1" || host.starts_with("127.")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if is_identifier(text) {
            return Err(InvalidName::Identifier(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| InvalidName::Format)?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest)?;
        let (registry, repository) = split_registry(name);
        check_repository(&repository)?;
        check_registry(&registry)?;
        if registry.len() + 1 + repository.len() > NAME_BYTES_MAX {
            return Err(InvalidName::Length);
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag,
        };
        Ok(Self { registry, repository, tag, digest })
    }
}

fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A colon after the last slash begins a tag; before it, a port.
fn split_tag(text: &str) -> Result<(&str, Option<String>), InvalidName> {
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    let Some(colon) = text[last..].find(':') else { return Ok((text, None)) };
    let (name, tag) = (&text[..last + colon], &text[last + colon + 1..]);
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let good = tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
    if good { Ok((name, Some(tag.to_owned()))) } else { Err(InvalidName::Format) }
}

/// The first part is a registry when it cannot be a repository: it has a dot, a port or capital letters,
/// or is `localhost`.
fn split_registry(name: &str) -> (String, String) {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':', '['])
                || first == "localhost"
                || first.to_lowercase() != first =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
        format!("{DEFAULT_NAMESPACE}/{repository}")
    } else {
        repository.to_owned()
    };
    (registry.to_owned(), repository)
}

fn check_repository(repository: &str) -> Result<(), InvalidName> {
    if repository.to_lowercase() != repository {
        let short = repository.strip_prefix("library/").unwrap_or(repository);
        return Err(InvalidName::Uppercase(short.to_owned()));
    }
    if repository.split('/').all(is_component) { Ok(()) } else { Err(InvalidName::Format) }
}

/// Runs of letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let ends = [component.bytes().next(), component.bytes().last()];
    ends.into_iter().all(|byte| byte.is_some_and(alphanumeric))
        && component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(
            |separator| {
                matches!(separator, "" | "." | "_" | "__")
                    || separator.bytes().all(|byte| byte == b'-')
            },
        )
}

fn check_registry(registry: &str) -> Result<(), InvalidName> {
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(InvalidName::Format)?;
            let good = address.parse::<std::net::Ipv6Addr>().is_ok();
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':').ok_or(InvalidName::Format)?),
            };
            (good, port)
        }
        None => {
            let (host, port) = match registry.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (registry, None),
            };
            (host.split('.').all(is_label), port)
        }
    };
    let port =
        port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    if host && port { Ok(()) } else { Err(InvalidName::Format) }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(text: &str) -> String {
        text.parse::<Reference>().map_or_else(|error| error.to_string(), |name| name.to_string())
    }

    #[test]
    fn short_names_are_completed() {
        let digest = Digest::of(b"");
        for (text, expected) in [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("busybox:1.36", "docker.io/library/busybox:1.36".to_owned()),
            ("a/b", "docker.io/a/b:latest".to_owned()),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest".to_owned()),
            ("localhost/x", "localhost/x:latest".to_owned()),
            ("localhost:5000/x/y:v1", "localhost:5000/x/y:v1".to_owned()),
            ("[::1]:5000/x", "[::1]:5000/x:latest".to_owned()),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10".to_owned()),
            (&format!("a@{digest}"), format!("docker.io/library/a@{digest}")),
            (&format!("a:1@{digest}"), format!("docker.io/library/a:1@{digest}")),
            ("a__b--c.d", "docker.io/library/a__b--c.d:latest".to_owned()),
        ] {
            assert_eq!(normal(text), expected, "{text}");
        }
    }

    #[test]
    fn bad_names_get_upstreams_words() {
        for (text, expected) in [
            ("", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("a b", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a@sha256:12", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("FOO", "invalid reference format: repository name (FOO) must be lowercase"),
            ("x.io:port/a", "invalid reference format"),
            ("https://x.io/a", "invalid reference format"),
        ] {
            assert_eq!(normal(text), expected, "{text}");
        }
        assert!(matches!("a".repeat(64).parse::<Reference>(), Err(InvalidName::Identifier(_))));
        assert_eq!("a".repeat(300).parse::<Reference>(), Err(InvalidName::Length));
    }

    #[test]
    fn local_registries_speak_plain_http() {
        for (text, local) in [
            ("localhost:5000/a", true),
            ("127.0.0.1:5000/a", true),
            ("[::1]/a", true),
            ("a", false),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().is_local(), local, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_parsed_name_parses_to_itself(text in "[a-zA-Z0-9:/@._\\[\\]-]{0,40}") {
            if let Ok(name) = text.parse::<Reference>() {
                prop_assert_eq!(name.to_string().parse::<Reference>(), Ok(name));
            }
        }
    }
}
