//! Image names and pull policies.

use k8s_openapi::api::core::v1::Container;

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before every start.
    Always,
    /// When it is not on the node.
    IfNotPresent,
    /// Never.
    Never,
}

/// The container's policy; without one, `Always` for a moving tag and `IfNotPresent` for a fixed one.
pub fn pull_policy(container: &Container) -> PullPolicy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        _ => match parse(container.image.as_deref().unwrap_or_default()) {
            Some(name) if name.digest.is_none() && name.tag == "latest" => PullPolicy::Always,
            _ => PullPolicy::IfNotPresent,
        },
    }
}

/// The parts of an image's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// Registry with port, e.g. `docker.io`.
    pub registry: String,
    /// Path within the registry, e.g. `library/nginx`.
    pub repository: String,
    /// Tag; `latest` when none is given and there is no digest.
    pub tag: String,
    /// Digest.
    pub digest: Option<String>,
}

impl ImageName {
    /// Registry and path: what credentials are chosen by.
    pub fn location(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

/// Reads a name; `None` when it is none, for which the status says `InvalidImageName`.
pub fn parse(text: &str) -> Option<ImageName> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(checked_digest(digest)?)),
        None => (text, None),
    };
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match rest[slash..].find(':') {
        Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
        None => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return None;
    }
    let (registry, repository) = match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", path),
    };
    let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
    let in_library = registry == "docker.io" && !repository.contains('/');
    let repository =
        if in_library { format!("library/{repository}") } else { repository.to_owned() };
    if registry.is_empty() || !repository.split('/').all(is_component) {
        return None;
    }
    let tag = match (tag, &digest) {
        (Some(tag), _) => tag.to_owned(),
        (None, Some(_)) => String::new(),
        (None, None) => "latest".to_owned(),
    };
    Some(ImageName { registry: registry.to_owned(), repository, tag, digest })
}

fn checked_digest(digest: &str) -> Option<String> {
    let (algorithm, hex) = digest.split_once(':')?;
    let good = !algorithm.is_empty()
        && hex.len() >= 32
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
    good.then(|| digest.to_owned())
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_component(component: &str) -> bool {
    let edge = |byte: Option<u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    edge(component.bytes().next())
        && edge(component.bytes().last())
        && component.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, location, tag) in [
            ("nginx".to_owned(), "docker.io/library/nginx", "latest"),
            ("a/b:1".to_owned(), "docker.io/a/b", "1"),
            ("localhost:5000/x".to_owned(), "localhost:5000/x", "latest"),
            ("r.io/a/b/c:v1.2-x".to_owned(), "r.io/a/b/c", "v1.2-x"),
            (format!("r.io/a@{digest}"), "r.io/a", ""),
        ] {
            let name = parse(&text).unwrap();
            assert_eq!((name.location().as_str(), name.tag.as_str()), (location, tag), "{text}");
        }
        for text in ["", "A/b", "a:b:c", "a b", "r.io/", "a@sha256:x", "-a", "a//b", ":x"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_default_policy_depends_on_the_tag() {
        let policy = |image: &str| {
            pull_policy(&Container { image: Some(image.to_owned()), ..Container::default() })
        };
        assert_eq!(policy("nginx"), PullPolicy::Always);
        assert_eq!(policy("nginx:1"), PullPolicy::IfNotPresent);
    }
}
