//! Manifests, indexes and configurations as far as this crate reads them (OCI image specification 1.1 and
//! Docker's schema 2, which have the same shape). Unknown fields are left alone.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use crate::limits::LAYERS_MAX;
use crate::{Digest, Error};

/// A reference to a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    #[serde(default)]
    pub(crate) size: u64,
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What an image runs on.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) variant: String,
}

/// A manifest or an index: which of them, the fields tell.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    pub(crate) schema_version: u32,
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
}

/// A manifest of one image.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

impl Document {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let document: Self = serde_json::from_slice(bytes).map_err(Error::json("manifest"))?;
        if document.schema_version != 2 {
            let version = document.schema_version;
            return Err(Error::Archive(format!("unsupported manifest schema version {version}")));
        }
        Ok(document)
    }

    /// The manifest that this is; `None` for an index.
    pub(crate) fn manifest(self) -> Option<Manifest> {
        self.config.map(|config| Manifest { config, layers: self.layers })
    }
}

/// The entry of an index that is made for this machine: the most specific variant first.
pub(crate) fn choose_platform(manifests: &[Descriptor]) -> Option<&Descriptor> {
    let (architecture, variants) = host_platform();
    let fits = |entry: &&Descriptor, variant: &str| match &entry.platform {
        Some(platform) => {
            platform.os == "linux"
                && platform.architecture == architecture
                && platform.variant == variant
        }
        None => false,
    };
    let exact =
        variants.iter().find_map(|variant| manifests.iter().find(|entry| fits(entry, variant)));
    // An entry that does not say what it runs on is an image for any machine.
    exact.or_else(|| manifests.iter().find(|entry| entry.platform.is_none()))
}

/// Go's name of this machine's architecture and the variants that run on it.
pub(crate) fn host_platform() -> (&'static str, &'static [&'static str]) {
    match std::env::consts::ARCH {
        "x86_64" => ("amd64", &["", "v1"]),
        "aarch64" => ("arm64", &["v8", ""]),
        "arm" => ("arm", &["v7", "v6", ""]),
        "x86" => ("386", &[""]),
        "powerpc64" => ("ppc64le", &[""]),
        other => (other, &[""]),
    }
}

/// A configuration with what the store needs of it.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) id: Digest,
    pub(crate) parsed: ImageConfiguration,
    pub(crate) diff_ids: Vec<Digest>,
}

impl Config {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let parsed: ImageConfiguration =
            serde_json::from_slice(bytes).map_err(Error::json("image configuration"))?;
        let diff_ids = parsed.rootfs().diff_ids().iter().map(|text| {
            text.parse().map_err(|error| Error::Archive(format!("configuration: {error}")))
        });
        let diff_ids: Vec<Digest> = diff_ids.collect::<Result<_, Error>>()?;
        if diff_ids.len() > LAYERS_MAX {
            return Err(Error::Archive(format!("more than {LAYERS_MAX} layers")));
        }
        Ok(Self { id: Digest::of(bytes), parsed, diff_ids })
    }

    /// Whether the image says that it runs on another kind of machine.
    pub(crate) fn check_platform(&self) -> Result<(), Error> {
        let os = self.parsed.os().to_string();
        let architecture = self.parsed.architecture().to_string();
        if os == "linux" && architecture == host_platform().0 {
            return Ok(());
        }
        Err(Error::NoPlatform(format!("the image is for {os}/{architecture}")))
    }
}

/// One image of `docker save`'s manifest.json.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerImage {
    pub(crate) config: String,
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    pub(crate) layers: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(digest: &str, platform: Option<(&str, &str, &str)>) -> Descriptor {
        Descriptor {
            media_type: String::new(),
            digest: Digest::of(digest.as_bytes()),
            size: 0,
            platform: platform.map(|(os, architecture, variant)| Platform {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: variant.to_owned(),
            }),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn the_entry_for_this_machine_is_chosen() {
        let here = host_platform().0;
        let entries = [
            entry("windows", Some(("windows", here, ""))),
            entry("other", Some(("linux", "s390x", ""))),
            entry("here", Some(("linux", here, host_platform().1[0]))),
            entry("attestation", Some(("unknown", "unknown", ""))),
        ];
        assert_eq!(choose_platform(&entries).unwrap().digest, Digest::of(b"here"));
        assert!(choose_platform(&entries[..2]).is_none());
        assert!(choose_platform(&[]).is_none());
        assert!(choose_platform(&[entry("any", None)]).is_some());
    }
}
