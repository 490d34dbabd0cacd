//! Credentials for registries: which of those in a pod's pull secrets fit an image.

use std::collections::BTreeMap;

use cri::AuthConfig;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

use crate::image::ImageName;

const DOCKER_HUB: &str = "index.docker.io";

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
    registrytoken: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct File {
    auths: BTreeMap<String, Entry>,
}

/// Credentials by the place they are for, most specific last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keyring {
    entries: Vec<(String, AuthConfig)>,
}

impl Keyring {
    /// Adds those of a pull secret; a secret of another type or with unreadable content adds nothing.
    pub fn add_secret(&mut self, secret: &Secret) {
        let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
        if let Some(bytes) = data(".dockerconfigjson") {
            let file: File = serde_json::from_slice(&bytes.0).unwrap_or_default();
            self.add(file.auths);
        } else if let Some(bytes) = data(".dockercfg") {
            self.add(serde_json::from_slice(&bytes.0).unwrap_or_default());
        }
    }

    /// Adds those of a docker configuration file's text.
    pub fn add_file(&mut self, text: &[u8]) {
        let file: File = serde_json::from_slice(text).unwrap_or_default();
        self.add(file.auths);
    }

    fn add(&mut self, auths: BTreeMap<String, Entry>) {
        for (place, entry) in auths {
            let place = normalised(&place);
            let config = AuthConfig {
                server_address: place.clone(),
                username: entry.username,
                password: entry.password,
                auth: entry.auth,
                identity_token: entry.identitytoken,
                registry_token: entry.registrytoken,
            };
            self.entries.push((place, config));
        }
    }

    /// The credentials that fit, the most specific place first.
    pub fn lookup(&self, image: &ImageName) -> Vec<&AuthConfig> {
        let location = image.location();
        let mut fitting: Vec<&(String, AuthConfig)> = self
            .entries
            .iter()
            .filter(|(place, _)| {
                fits(place, &location) || (image.registry == "docker.io" && place == DOCKER_HUB)
            })
            .collect();
        fitting.sort_by(|left, right| right.0.cmp(&left.0));
        fitting.into_iter().map(|(_, config)| config).collect()
    }
}

fn normalised(place: &str) -> String {
    let bare = place.strip_prefix("https://").or_else(|| place.strip_prefix("http://"));
    let bare = bare.unwrap_or(place).trim_end_matches('/');
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    match path {
        "" | "v1" | "v2" => host.to_owned(),
        _ => format!("{host}/{path}"),
    }
}

fn fits(place: &str, location: &str) -> bool {
    let (place_host, place_path) = place.split_once('/').unwrap_or((place, ""));
    let (host, path) = location.split_once('/').unwrap_or((location, ""));
    let (place_name, place_port) = place_host.split_once(':').unwrap_or((place_host, ""));
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    if place_port != port || !path.starts_with(place_path) {
        return false;
    }
    let (patterns, labels): (Vec<&str>, Vec<&str>) =
        (place_name.split('.').collect(), name.split('.').collect());
    patterns.len() == labels.len()
        && patterns.iter().zip(&labels).all(|(pattern, label)| glob(pattern, label))
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => {
            let Some(text) = text.strip_prefix(start) else { return false };
            (0..=text.len())
                .filter(|at| text.is_char_boundary(*at))
                .any(|at| glob(rest, &text[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(places: &[&str], image: &str) -> Vec<String> {
        let auths: BTreeMap<&str, serde_json::Value> =
            places.iter().map(|place| (*place, serde_json::json!({"username": place}))).collect();
        let mut keyring = Keyring::default();
        keyring.add_file(serde_json::json!({ "auths": auths }).to_string().as_bytes());
        let image = crate::image::parse(image).unwrap();
        keyring.lookup(&image).into_iter().map(|auth| auth.username.clone()).collect()
    }

    #[test]
    fn places() {
        for (place, image, expected) in [
            ("r.io", "r.io/a/b", true),
            ("r.io/a", "r.io/a/b", true),
            ("r.io/x", "r.io/a/b", false),
            ("r.io:5000", "r.io/a", false),
            ("r.io:5000", "r.io:5000/a", true),
            ("*.r.io", "x.r.io/a", true),
            ("*.r.io", "x.y.r.io/a", false),
            ("https://index.docker.io/v1/", "nginx", true),
            ("docker.io", "nginx", true),
            ("https://r.io/v2/", "r.io/a", true),
        ] {
            assert_eq!(!users(&[place], image).is_empty(), expected, "{place} {image}");
        }
    }

    #[test]
    fn the_most_specific_comes_first() {
        assert_eq!(
            users(&["r.io", "r.io/a/b", "r.io/a"], "r.io/a/b"),
            ["r.io/a/b", "r.io/a", "r.io"]
        );
    }
}
