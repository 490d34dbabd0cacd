//! `secret`: the keys of a secret as files, in memory.

use k8s_openapi::api::core::v1::SecretVolumeSource;
use podlife::projection::{self, Files};

use super::{Context, Ready, VolumeError, atomic, make_memory_directory};

pub(super) fn set_up(
    context: &Context<'_>,
    name: &str,
    source: &SecretVolumeSource,
) -> Result<Ready, VolumeError> {
    let optional = source.optional.unwrap_or(false);
    let wanted = source.secret_name.clone().unwrap_or_default();
    let files = match context.referenced.secrets.get(&wanted) {
        Some(secret) => {
            projection::secret(secret, source.items.as_deref(), source.default_mode, optional)?
        }
        None if optional => Files::new(),
        None => return Err(VolumeError::Missing { kind: "secret", name: wanted }),
    };
    let path = context.directory("kubernetes.io/secret", name);
    make_memory_directory(context.config, &path, "mode=0777")?;
    atomic::write(&path, &files, context.fs_group(), None)?;
    Ok(Ready::at(path))
}
