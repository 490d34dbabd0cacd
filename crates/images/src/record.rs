//! What the store remembers about an image: one small file per image.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use crate::Digest;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Digest of the configuration: the image's id.
    pub id: Digest,
    /// `name:tag`s that mean this image.
    #[serde(default)]
    pub tags: Vec<String>,
    /// `name@digest`s that mean this image.
    #[serde(default)]
    pub digests: Vec<String>,
    /// Bytes of configuration and (compressed) layers.
    pub size: u64,
    /// Chain ids of the layers, the lowest first: the names of their directories.
    pub chain: Vec<Digest>,
    /// The configuration.
    pub config: ImageConfiguration,
    /// Whether garbage collection should spare it.
    #[serde(default)]
    pub pinned: bool,
    /// Seconds since 1970 when it was stored first.
    #[serde(default)]
    pub stored_at: i64,
}

impl ImageRecord {
    /// `Config.User`, empty when not set.
    pub fn user(&self) -> &str {
        self.config.config().as_ref().and_then(|config| config.user().as_deref()).unwrap_or("")
    }

    /// Labels of the configuration.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.config.config().as_ref().and_then(|config| config.labels().as_ref());
        labels.map(|labels| labels.clone().into_iter().collect()).unwrap_or_default()
    }

    /// Forgets a name; whether it had it.
    pub(crate) fn forget(&mut self, name: &str) -> bool {
        let before = self.tags.len() + self.digests.len();
        self.tags.retain(|tag| tag != name);
        self.digests.retain(|digest| digest != name);
        before != self.tags.len() + self.digests.len()
    }

    /// Learns the names of `other`, which is the same image.
    pub(crate) fn merge(&mut self, other: &Self) {
        for tag in &other.tags {
            if !self.tags.contains(tag) {
                self.tags.push(tag.clone());
            }
        }
        for digest in &other.digests {
            if !self.digests.contains(digest) {
                self.digests.push(digest.clone());
            }
        }
        self.pinned |= other.pinned;
    }
}
