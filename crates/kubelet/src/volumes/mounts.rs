//! The mounts of a container: its volumes, its hosts file and the place for its last words.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cri::{KeyValue, Mount, MountPropagation};
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use podlife::container::MESSAGE_PATH_DEFAULT;
use podlife::{env, pod};

use super::{VolumeError, VolumeSet, make_directory, sub_path};
use crate::config::Config;

/// A container about to be made.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) config: &'a Config,
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) restarts: i32,
    pub(crate) env: &'a [KeyValue],
    pub(crate) volumes: &'a VolumeSet,
}

/// All mounts of the container.
pub(crate) fn of_container(target: &Target<'_>, hosts: &str) -> Result<Vec<Mount>, VolumeError> {
    let mut mounts = Vec::new();
    for (at, wanted) in target.container.volume_mounts.iter().flatten().enumerate() {
        mounts.push(volume_mount(target, at, wanted)?);
    }
    let directory = target.config.pod_directory(pod::uid(target.pod));
    if mounts.iter().all(|mount| mount.container_path != "/etc/hosts") {
        mounts.push(hosts_mount(&directory, hosts)?);
    }
    let path = target.container.termination_message_path.as_deref();
    let path = path.filter(|path| !path.is_empty()).unwrap_or(MESSAGE_PATH_DEFAULT);
    mounts.push(message_mount(target, &directory, path)?);
    Ok(mounts)
}

fn volume_mount(
    target: &Target<'_>,
    at: usize,
    wanted: &VolumeMount,
) -> Result<Mount, VolumeError> {
    let missing = || {
        VolumeError::Mount(format!(
            "cannot find volume \"{}\" to mount into container \"{}\"",
            wanted.name, target.container.name
        ))
    };
    let volume = target.volumes.ready.get(&wanted.name).ok_or_else(missing)?;
    let lookup = |name: &str| {
        target.env.iter().rev().find(|have| have.key == name).map(|have| have.value.clone())
    };
    let part = match (wanted.sub_path.as_deref(), wanted.sub_path_expr.as_deref()) {
        (Some(part), _) if !part.is_empty() => part.to_owned(),
        (_, Some(expression)) => env::expand(expression, lookup),
        _ => String::new(),
    };
    let host_path = if part.is_empty() || volume.image.is_some() {
        volume.path.clone()
    } else {
        let directory = target.config.pod_directory(pod::uid(target.pod));
        let mark = directory
            .join("volume-subpaths")
            .join(&wanted.name)
            .join(&target.container.name)
            .join(at.to_string());
        sub_path::resolve(target.config, &volume.path, &part, &mark)?
    };
    Ok(Mount {
        container_path: absolute(&wanted.mount_path),
        host_path: host_path.display().to_string(),
        readonly: wanted.read_only.unwrap_or(false) || volume.readonly,
        propagation: match wanted.mount_propagation.as_deref() {
            Some("Bidirectional") => MountPropagation::Bidirectional,
            Some("HostToContainer") => MountPropagation::HostToContainer,
            _ => MountPropagation::Private,
        },
        recursive_read_only: matches!(
            wanted.recursive_read_only.as_deref(),
            Some("Enabled" | "IfPossible")
        ),
        image: volume.image.clone().map(cri::ImageSpec::named),
        ..Mount::default()
    })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The hosts file of a pod, below its directory.
pub(crate) fn hosts_file(directory: &Path) -> PathBuf {
    directory.join("etc-hosts")
}

fn hosts_mount(directory: &Path, hosts: &str) -> Result<Mount, VolumeError> {
    let path = hosts_file(directory);
    make_directory(directory, 0o750)?;
    if std::fs::read_to_string(&path).ok().as_deref() != Some(hosts) {
        std::fs::write(&path, hosts).map_err(VolumeError::file("write", &path))?;
    }
    Ok(Mount {
        container_path: "/etc/hosts".to_owned(),
        host_path: path.display().to_string(),
        ..Mount::default()
    })
}

fn message_mount(target: &Target<'_>, directory: &Path, path: &str) -> Result<Mount, VolumeError> {
    let place = directory.join("containers").join(&target.container.name);
    make_directory(&place, 0o750)?;
    let file: PathBuf = place.join(format!("{:08x}", target.restarts));
    std::fs::write(&file, b"").map_err(VolumeError::file("create", &file))?;
    // Whoever the container runs as may write it.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666))
        .map_err(VolumeError::file("set permissions of", &file))?;
    Ok(Mount {
        container_path: path.to_owned(),
        host_path: file.display().to_string(),
        ..Mount::default()
    })
}
