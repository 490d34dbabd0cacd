//! The volumes of a pod: setting them up, keeping them current, and taking them down. One file per kind.

pub(crate) mod atomic;
pub(crate) mod claim;
pub(crate) mod config_map;
pub(crate) mod downward_api;
pub(crate) mod empty_dir;
pub(crate) mod host_path;
pub(crate) mod mounts;
pub(crate) mod nfs;
pub(crate) mod ownership;
pub(crate) mod projected;
pub(crate) mod secret;
pub(crate) mod sub_path;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use podlife::downward::DownwardFacts;
use podlife::env::Referenced;
use podlife::names;
use podlife::pod;

use crate::config::Config;
use crate::tokens::Tokens;

/// Why a volume cannot be used; the message of a `FailedMount` event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error(transparent)]
    Projection(#[from] podlife::projection::ProjectionError),
    #[error(transparent)]
    Token(#[from] crate::tokens::TokenError),
    #[error("hostPath type check failed: {0}")]
    HostPath(String),
    #[error("{0}")]
    Claim(String),
    #[error("{action} {path}: {source}")]
    File { action: &'static str, path: String, source: std::io::Error },
    #[error("{0}")]
    Mount(String),
    #[error("volume source is not supported on this node")]
    Unsupported,
}

impl VolumeError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn mount(error: &linux::mount::MountError) -> Self {
        Self::Mount(cri::error::chain(error))
    }
}

/// A volume that containers can mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Where it is on the host.
    pub(crate) path: PathBuf,
    /// An image whose files are the volume, instead of a path.
    pub(crate) image: Option<String>,
    /// Whether the source itself is read-only.
    pub(crate) readonly: bool,
}

impl Ready {
    fn at(path: PathBuf) -> Self {
        Self { path, image: None, readonly: false }
    }
}

/// The volumes of a pod, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct VolumeSet {
    pub(crate) ready: BTreeMap<String, Ready>,
    /// When a token in one of them must be replaced.
    pub(crate) refresh_at: Option<Timestamp>,
}

/// What setting up volumes needs.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) config: &'a Config,
    pub(crate) client: &'a client::Client,
    pub(crate) tokens: &'a Tokens,
    pub(crate) pod: &'a Pod,
    pub(crate) referenced: &'a Referenced,
    pub(crate) host_ips: &'a [String],
    pub(crate) pod_ips: &'a [String],
    pub(crate) allocatable: &'a BTreeMap<String, Quantity>,
}

impl Context<'_> {
    pub(crate) fn facts(&self) -> DownwardFacts<'_> {
        DownwardFacts {
            host_ips: self.host_ips,
            pod_ips: self.pod_ips,
            allocatable: Some(self.allocatable),
        }
    }

    /// The directory of a volume.
    pub(crate) fn directory(&self, plugin: &str, volume: &str) -> PathBuf {
        directory(&self.config.pod_directory(pod::uid(self.pod)), plugin, volume)
    }

    pub(crate) fn fs_group(&self) -> Option<u32> {
        let context = pod::spec(self.pod).security_context.as_ref()?;
        context.fs_group.and_then(|group| u32::try_from(group).ok())
    }
}

/// The directory of a volume, below that of its pod.
pub(crate) fn directory(pod: &Path, plugin: &str, volume: &str) -> PathBuf {
    pod.join("volumes").join(names::escaped(plugin)).join(volume)
}

/// A volume that failed, with its name.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) volume: String,
    pub(crate) error: VolumeError,
}

/// Sets up every volume of the pod that a container uses; what is there already is only brought up to
/// date.
pub(crate) async fn set_up(context: &Context<'_>) -> Result<VolumeSet, Vec<Failed>> {
    let mut set = VolumeSet::default();
    let mut failed = Vec::new();
    for volume in pod::spec(context.pod).volumes.iter().flatten() {
        match set_up_one(context, volume, &mut set.refresh_at).await {
            Ok(ready) => {
                set.ready.insert(volume.name.clone(), ready);
            }
            Err(error) => failed.push(Failed { volume: volume.name.clone(), error }),
        }
    }
    if failed.is_empty() { Ok(set) } else { Err(failed) }
}

async fn set_up_one(
    context: &Context<'_>,
    volume: &Volume,
    refresh_at: &mut Option<Timestamp>,
) -> Result<Ready, VolumeError> {
    let name = volume.name.as_str();
    if let Some(source) = &volume.empty_dir {
        return empty_dir::set_up(context, name, source);
    }
    if let Some(source) = &volume.config_map {
        return config_map::set_up(context, name, source);
    }
    if let Some(source) = &volume.secret {
        return secret::set_up(context, name, source);
    }
    if let Some(source) = &volume.projected {
        return projected::set_up(context, name, source, refresh_at).await;
    }
    if let Some(source) = &volume.downward_api {
        return downward_api::set_up(context, name, source);
    }
    if let Some(source) = &volume.host_path {
        return host_path::set_up(&source.path, source.type_.as_deref().unwrap_or_default());
    }
    if let Some(source) = &volume.persistent_volume_claim {
        let readonly = source.read_only.unwrap_or(false);
        return claim::set_up(context, name, &source.claim_name, readonly).await;
    }
    if volume.ephemeral.is_some() {
        let claim = format!("{}-{name}", pod::name(context.pod));
        return claim::set_up(context, name, &claim, false).await;
    }
    if let Some(source) = &volume.nfs {
        let readonly = source.read_only.unwrap_or(false);
        return nfs::set_up(context, name, &source.server, &source.path, readonly);
    }
    if let Some(source) = &volume.image {
        let image = source.reference.clone();
        return Ok(Ready { path: PathBuf::new(), image, readonly: true });
    }
    Err(VolumeError::Unsupported)
}

/// Takes down everything below the directory of a pod and removes it.
pub(crate) fn tear_down(directory: &Path) -> Result<(), VolumeError> {
    if !directory.exists() {
        return Ok(());
    }
    let unmounted =
        linux::mount::unmount_below(directory).map_err(|error| VolumeError::mount(&error))?;
    for target in unmounted {
        if linux::mount::is_mount_point(&target).map_err(|error| VolumeError::mount(&error))? {
            return Err(VolumeError::Mount(format!("{} is still mounted", target.display())));
        }
    }
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(VolumeError::file("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

/// Makes a directory and those above it, with these permission bits on the last.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<(), VolumeError> {
    use std::os::unix::fs::PermissionsExt as _;
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(VolumeError::file("create", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(VolumeError::file("set permissions of", path))
}

/// A directory in memory, where mounting is allowed; else a plain one.
pub(crate) fn make_memory_directory(
    config: &Config,
    path: &Path,
    options: &str,
) -> Result<(), VolumeError> {
    make_directory(path, 0o777)?;
    if !config.mounts {
        return Ok(());
    }
    let mounted = linux::mount::is_mount_point(path).map_err(|error| VolumeError::mount(&error))?;
    if mounted {
        return Ok(());
    }
    linux::mount::tmpfs(path, rustix::mount::MountFlags::empty(), options)
        .map_err(|error| VolumeError::mount(&error))
}

#[cfg(test)]
mod tests;
