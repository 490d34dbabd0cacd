//! `emptyDir`: a directory that lives as long as the pod, on disk or in memory.

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use podlife::quantity;

use super::{Context, Ready, VolumeError, make_directory, make_memory_directory, ownership};

pub(super) fn set_up(
    context: &Context<'_>,
    name: &str,
    source: &EmptyDirVolumeSource,
) -> Result<Ready, VolumeError> {
    let path = context.directory("kubernetes.io/empty-dir", name);
    let fresh = !path.exists();
    match source.medium.as_deref().unwrap_or_default() {
        "" => make_directory(&path, 0o777)?,
        "Memory" => {
            let limit = source.size_limit.as_ref().map_or(0, quantity::value);
            let size = if limit > 0 { format!(",size={limit}") } else { String::new() };
            make_memory_directory(context.config, &path, &format!("mode=0777{size}"))?;
        }
        medium => {
            return Err(VolumeError::Mount(format!("unknown storage medium \"{medium}\"")));
        }
    }
    if fresh && let Some(group) = context.fs_group() {
        ownership::apply(&path, group, false)?;
    }
    Ok(Ready::at(path))
}
