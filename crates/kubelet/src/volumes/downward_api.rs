//! `downwardAPI`: fields of the pod as files.

use k8s_openapi::api::core::v1::DownwardAPIVolumeSource;
use podlife::projection;

use super::{Context, Ready, VolumeError, atomic, make_directory};

pub(super) fn set_up(
    context: &Context<'_>,
    name: &str,
    source: &DownwardAPIVolumeSource,
) -> Result<Ready, VolumeError> {
    let items = source.items.as_deref().unwrap_or_default();
    let files =
        projection::downward_api(context.pod, items, source.default_mode, &context.facts())?;
    let path = context.directory("kubernetes.io/downward-api", name);
    make_directory(&path, 0o777)?;
    atomic::write(&path, &files, context.fs_group(), None)?;
    Ok(Ready::at(path))
}
