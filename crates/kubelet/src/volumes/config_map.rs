//! `configMap`: the keys of a config map as files.

use k8s_openapi::api::core::v1::ConfigMapVolumeSource;
use podlife::projection::{self, Files};

use super::{Context, Ready, VolumeError, atomic, make_directory};

pub(super) fn set_up(
    context: &Context<'_>,
    name: &str,
    source: &ConfigMapVolumeSource,
) -> Result<Ready, VolumeError> {
    let optional = source.optional.unwrap_or(false);
    let files = match context.referenced.config_maps.get(&source.name) {
        Some(map) => {
            projection::config_map(map, source.items.as_deref(), source.default_mode, optional)?
        }
        None if optional => Files::new(),
        None => {
            return Err(VolumeError::Missing { kind: "configmap", name: source.name.clone() });
        }
    };
    let path = context.directory("kubernetes.io/configmap", name);
    make_directory(&path, 0o777)?;
    atomic::write(&path, &files, context.fs_group(), None)?;
    Ok(Ready::at(path))
}
