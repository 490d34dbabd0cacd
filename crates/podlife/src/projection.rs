//! The files of volumes that show API objects: config maps, secrets, the pod itself, and their union.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret};

use crate::downward::{self, DownwardFacts, FieldError};

/// Permission bits of a file without any of its own.
pub const MODE_DEFAULT: u32 = 0o644;

/// Why the files cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProjectionError {
    /// A key that is not optional is missing.
    #[error("references non-existent {kind} key: {key}")]
    MissingKey {
        /// `config` or `secret`.
        kind: &'static str,
        /// Key.
        key: String,
    },
    /// The pod has no such field.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Content.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// Files by their path below the volume.
pub type Files = BTreeMap<String, File>;

fn bits(mode: Option<i32>, default: u32) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default)
}

fn pick(
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    mode: u32,
    optional: bool,
    kind: &'static str,
) -> Result<Files, ProjectionError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let all = data.iter();
        return Ok(all
            .map(|(key, content)| (key.clone(), File { content: content.clone(), mode }))
            .collect());
    };
    let mut files = Files::new();
    for item in items {
        let Some(content) = data.get(&item.key) else {
            if optional {
                continue;
            }
            return Err(ProjectionError::MissingKey { kind, key: item.key.clone() });
        };
        let file = File { content: content.clone(), mode: bits(item.mode, mode) };
        files.insert(item.path.clone(), file);
    }
    Ok(files)
}

/// The files of a config map.
///
/// # Errors
/// A key is missing.
pub fn config_map(
    map: &ConfigMap,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: bool,
) -> Result<Files, ProjectionError> {
    let text = map.data.iter().flatten();
    let mut data: BTreeMap<String, Vec<u8>> =
        text.map(|(key, value)| (key.clone(), value.clone().into_bytes())).collect();
    let binary = map.binary_data.iter().flatten();
    data.extend(binary.map(|(key, value)| (key.clone(), value.0.clone())));
    pick(&data, items, bits(mode, MODE_DEFAULT), optional, "config")
}

/// The files of a secret.
///
/// # Errors
/// A key is missing.
pub fn secret(
    secret: &Secret,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: bool,
) -> Result<Files, ProjectionError> {
    let data = secret.data.iter().flatten();
    let data = data.map(|(key, value)| (key.clone(), value.0.clone())).collect();
    pick(&data, items, bits(mode, MODE_DEFAULT), optional, "secret")
}

/// The files that show the pod itself.
///
/// # Errors
/// The pod has no such field.
pub fn downward_api(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    mode: Option<i32>,
    facts: &DownwardFacts<'_>,
) -> Result<Files, ProjectionError> {
    let default = bits(mode, MODE_DEFAULT);
    let mut files = Files::new();
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            downward::field(pod, &field.field_path, facts)?
        } else if let Some(resource) = &item.resource_field_ref {
            downward::resource(pod, None, resource, facts)?
        } else {
            continue;
        };
        let file = File { content: text.into_bytes(), mode: bits(item.mode, default) };
        files.insert(item.path.clone(), file);
    }
    Ok(files)
}

/// Whether a path stays below the volume: relative, no `..`, not among the writer's own names.
pub fn is_safe_path(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && !path.starts_with("..")
        && path.split('/').all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_chosen_renamed_and_given_modes() {
        let map: ConfigMap = serde_json::from_value(
            json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="}}),
        )
        .unwrap();
        let all = config_map(&map, None, Some(0o600), false).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(all["c"], File { content: vec![0, 1], mode: 0o600 });
        let item = |key: &str| KeyToPath {
            key: key.into(),
            path: "x/y".into(),
            mode: Some(0o400),
            ..KeyToPath::default()
        };
        let some = config_map(&map, Some(&[item("b")]), None, false).unwrap();
        assert_eq!(some["x/y"], File { content: b"2".to_vec(), mode: 0o400 });
        let error = config_map(&map, Some(&[item("z")]), None, false).unwrap_err();
        assert_eq!(error.to_string(), "references non-existent config key: z");
        assert!(config_map(&map, Some(&[item("z")]), None, true).unwrap().is_empty());
    }

    #[test]
    fn paths_stay_below_the_volume() {
        for (path, safe) in [
            ("a", true),
            ("a/b", true),
            ("..data", false),
            ("/a", false),
            ("a/../b", false),
            ("", false),
        ] {
            assert_eq!(is_safe_path(path), safe, "{path}");
        }
    }
}
