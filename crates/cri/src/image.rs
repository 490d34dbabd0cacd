//! Images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::FilesystemUsage;

/// How an image is named in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageSpec {
    /// Name, name with digest, or id.
    pub image: String,
    /// May choose an image out of several.
    pub annotations: BTreeMap<String, String>,
    /// What the user wrote in the pod's spec.
    pub user_specified_image: String,
    /// Runtime handler to pull for.
    pub runtime_handler: String,
}

impl ImageSpec {
    /// A spec that only names the image.
    pub fn named(image: impl Into<String>) -> Self {
        Self { image: image.into(), ..Self::default() }
    }
}

/// An image on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    /// Digest of its configuration.
    pub id: String,
    /// Names with tag.
    pub repo_tags: Vec<String>,
    /// Names with digest.
    pub repo_digests: Vec<String>,
    /// Bytes, as stored.
    pub size: u64,
    /// User id it runs as by default; excludes `username`.
    pub uid: Option<i64>,
    /// User name it runs as by default.
    pub username: String,
    /// The name in the spec and annotations.
    pub spec: Option<ImageSpec>,
    /// Whether garbage collection should spare it.
    pub pinned: bool,
}

/// Which images to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageFilter {
    /// Only this one.
    pub image: Option<ImageSpec>,
}

/// Credentials for a registry; at most one form is filled in.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// User.
    pub username: String,
    /// Password.
    pub password: String,
    /// `user:password` in base64.
    pub auth: String,
    /// The registry these are for; empty: any.
    pub server_address: String,
    /// Exchanged for an access token.
    pub identity_token: String,
    /// Sent as it is.
    pub registry_token: String,
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

/// Where images and containers are stored and how much that takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageFsInfo {
    /// File systems of images.
    pub image_filesystems: Vec<FilesystemUsage>,
    /// File systems of containers' writable layers.
    pub container_filesystems: Vec<FilesystemUsage>,
}
