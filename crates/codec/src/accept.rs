//! Media types: which encoding a body has, and which one a client wants back.
//!
//! Reads header values; does not know requests. What a client may ask for at which endpoint (tables,
//! streams) is the caller's to say.

use crate::limits::{ACCEPT_BYTES_MAX, ACCEPT_CLAUSES_MAX};

/// A watch in CBOR: one item for each event (RFC 8742).
const CBOR_SEQUENCE: &str = "application/cbor-seq";

/// An encoding of API objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
    /// `application/cbor`, only for those who ask for it
    Cbor,
}

impl MediaType {
    /// All encodings in the order of upstream's preference.
    pub const ALL: [Self; 4] = [Self::Json, Self::Yaml, Self::Protobuf, Self::Cbor];

    /// The value of a `Content-Type` header for one object or list.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
            Self::Cbor => "application/cbor",
        }
    }

    /// The value of a `Content-Type` header for a watch; nothing if it cannot be streamed.
    pub fn stream_content_type(self) -> Option<&'static str> {
        match self {
            Self::Json => Some("application/json"),
            Self::Yaml => None,
            Self::Protobuf => Some("application/vnd.kubernetes.protobuf;stream=watch"),
            Self::Cbor => Some(CBOR_SEQUENCE),
        }
    }

    /// The encoding of a request body by its `Content-Type`; absent or empty means JSON. Nothing
    /// means: answer 415.
    pub fn from_content_type(header: Option<&str>) -> Option<Self> {
        let header = header.map_or("", str::trim);
        if header.is_empty() {
            return Some(Self::Json);
        }
        let name = header.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|media| media.content_type().eq_ignore_ascii_case(name))
    }

    fn subtype(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Protobuf => "vnd.kubernetes.protobuf",
            Self::Cbor => "cbor",
        }
    }
}

/// The kind that a client wants instead of the stored one (`as=Table;g=meta.k8s.io;v=v1`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Transform {
    /// `g`
    pub group: String,
    /// `v`
    pub version: String,
    /// `as`
    pub kind: String,
}

impl Transform {
    /// Whether upstream offers this for resources: tables (never in protobuf) and bare metadata.
    pub fn is_offered(&self, media: MediaType) -> bool {
        if self.group != "meta.k8s.io" || !matches!(self.version.as_str(), "v1" | "v1beta1") {
            return false;
        }
        match self.kind.as_str() {
            "Table" => media != MediaType::Protobuf,
            "PartialObjectMetadata" | "PartialObjectMetadataList" => true,
            _ => false,
        }
    }
}

/// The outcome of negotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The encoding.
    pub media: MediaType,
    /// The wanted kind, if another than the stored one.
    pub transform: Option<Transform>,
    /// `pretty=1`
    pub pretty: bool,
    /// `stream=watch`
    pub stream: bool,
}

impl Accept {
    /// Chooses the first acceptable clause of an `Accept` header, best quality first.
    ///
    /// `offers` says whether the endpoint has a transform in an encoding; [`Transform::is_offered`] for
    /// resources, `|_, _| false` for the rest. Absent or empty headers mean JSON. Nothing means:
    /// answer 406.
    pub fn negotiate(
        header: Option<&str>,
        offers: impl Fn(&Transform, MediaType) -> bool,
    ) -> Option<Self> {
        let header = header.map_or("", str::trim);
        if header.is_empty() {
            let media = MediaType::Json;
            return Some(Self { media, transform: None, pretty: false, stream: false });
        }
        if header.len() > ACCEPT_BYTES_MAX {
            return None;
        }
        let mut clauses: Vec<Clause<'_>> =
            header.split(',').take(ACCEPT_CLAUSES_MAX).filter_map(Clause::parse).collect();
        clauses.sort_by(|a, b| {
            b.quality.total_cmp(&a.quality).then_with(|| a.wildcards().cmp(&b.wildcards()))
        });
        clauses.iter().find_map(|clause| clause.choose(&offers))
    }
}

struct Clause<'a> {
    main: &'a str,
    sub: &'a str,
    quality: f32,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next()?;
        let (main, sub) = match name.split_once('/') {
            Some((main, sub)) => (main.trim(), sub.trim()),
            None if name == "*" => ("*", "*"),
            None => return None,
        };
        let mut clause = Self { main, sub, quality: 1.0, parameters: Vec::new() };
        for part in parts {
            let Some((key, value)) = part.split_once('=') else { continue };
            let (key, value) = (key.trim(), value.trim());
            if key == "q" {
                clause.quality = value.parse().unwrap_or(1.0);
            } else {
                clause.parameters.push((key, value));
            }
        }
        Some(clause)
    }

    fn wildcards(&self) -> usize {
        usize::from(self.main == "*") + usize::from(self.sub == "*")
    }

    fn choose(&self, offers: impl Fn(&Transform, MediaType) -> bool) -> Option<Accept> {
        MediaType::ALL.into_iter().find_map(|media| {
            let matches = match (self.main, self.sub) {
                ("*", "*") | ("application", "*") => true,
                ("application", "cbor-seq") => media == MediaType::Cbor,
                ("application", sub) => sub == media.subtype(),
                _ => false,
            };
            if matches { self.options(media, &offers) } else { None }
        })
    }

    fn options(
        &self,
        media: MediaType,
        offers: impl Fn(&Transform, MediaType) -> bool,
    ) -> Option<Accept> {
        let mut accept = Accept { media, transform: None, pretty: false, stream: false };
        for (key, value) in &self.parameters {
            let value = (*value).to_owned();
            match *key {
                "as" => accept.transform.get_or_insert_default().kind = value,
                "g" => accept.transform.get_or_insert_default().group = value,
                "v" => accept.transform.get_or_insert_default().version = value,
                "pretty" => accept.pretty = value == "1",
                "stream" if value == "watch" && media.stream_content_type().is_some() => {
                    accept.stream = true;
                }
                "stream" | "sv" if !value.is_empty() => return None,
                _ => {}
            }
        }
        match &accept.transform {
            Some(transform) if !offers(transform, media) => None,
            _ => Some(accept),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Accept, MediaType, Transform};

    fn negotiate(header: &str) -> Option<Accept> {
        Accept::negotiate(Some(header), Transform::is_offered)
    }

    #[test]
    fn encodings() {
        for (header, expected) in [
            ("", Some(MediaType::Json)),
            ("*/*", Some(MediaType::Json)),
            ("application/*", Some(MediaType::Json)),
            ("application/json, */*", Some(MediaType::Json)),
            ("application/vnd.kubernetes.protobuf, application/json", Some(MediaType::Protobuf)),
            (
                "application/vnd.kubernetes.protobuf;q=0.5,application/yaml;q=0.9",
                Some(MediaType::Yaml),
            ),
            ("*/*, application/yaml", Some(MediaType::Yaml)),
            ("text/html, application/xhtml+xml, */*;q=0.8", Some(MediaType::Json)),
            ("application/vnd.kubernetes.protobuf;stream=watch", Some(MediaType::Protobuf)),
            ("application/yaml;stream=watch", None),
            ("application/cbor, application/json;q=0.9", Some(MediaType::Cbor)),
            ("application/cbor-seq", Some(MediaType::Cbor)),
            ("application/json;stream=other", None),
            ("text/plain", None),
            ("image/png;q=x", None),
        ] {
            assert_eq!(negotiate(header).map(|accept| accept.media), expected, "{header}");
        }
    }

    #[test]
    fn tables_as_kubectl_asks() {
        let accept = negotiate(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;\
             g=meta.k8s.io,application/json",
        )
        .expect("acceptable");
        let transform = accept.transform.expect("a table");
        assert_eq!((transform.kind.as_str(), transform.version.as_str()), ("Table", "v1"));
        let accept = negotiate(
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
        );
        assert_eq!(accept.expect("the plain one").transform, None);
        let none =
            Accept::negotiate(Some("application/json;as=Table;v=v1;g=meta.k8s.io"), |_, _| false);
        assert_eq!(none, None);
    }

    #[test]
    fn content_types() {
        for (header, expected) in [
            (None, Some(MediaType::Json)),
            (Some("application/json; charset=utf-8"), Some(MediaType::Json)),
            (Some("Application/YAML"), Some(MediaType::Yaml)),
            (Some("application/vnd.kubernetes.protobuf"), Some(MediaType::Protobuf)),
            (Some("text/plain"), None),
        ] {
            assert_eq!(MediaType::from_content_type(header), expected, "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_headers_do_not_panic(header in ".{0,200}") {
            let _ = negotiate(&header);
        }
    }
}
