//! What is mounted into a container: the kernel's file systems, the sandbox's files, the kubelet's volumes.

use std::path::{Path, PathBuf};

use cri::{Mount as CriMount, MountPropagation};
use oci_spec::runtime::{Mount, MountBuilder};

use super::{Input, SpecError};

/// Files of the sandbox that every container sees, unless the kubelet mounts its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct SandboxFiles {
    pub(crate) shm: PathBuf,
    pub(crate) resolv_conf: Option<PathBuf>,
    pub(crate) hostname: Option<PathBuf>,
}

/// All mounts, and how the root has to be mounted for their propagation to work.
pub(super) struct Mounts {
    pub(super) list: Vec<Mount>,
    pub(super) rootfs_propagation: String,
}

pub(super) fn build(input: &Input<'_>) -> Result<Mounts, SpecError> {
    let config = input.config;
    let privileged = config.linux.security_context.privileged;
    let wanted = |path: &str| {
        config.mounts.iter().any(|mount| Path::new(&mount.container_path) == Path::new(path))
    };
    let mut list = kernel_mounts(privileged)?;
    list.retain(|mount| !wanted(&mount.destination().to_string_lossy()));
    let files = input.files;
    let mut bind_file = |path: &str, source: &Path, options: &[&str]| -> Result<(), SpecError> {
        if !wanted(path) {
            list.push(mount(path, "bind", &source.to_string_lossy(), options)?);
        }
        Ok(())
    };
    bind_file("/dev/shm", &files.shm, &["rbind", "rprivate", "rw"])?;
    let access = if config.linux.security_context.readonly_rootfs { "ro" } else { "rw" };
    if let Some(source) = &files.resolv_conf {
        bind_file("/etc/resolv.conf", source, &["rbind", "rprivate", access])?;
    }
    if let Some(source) = &files.hostname {
        bind_file("/etc/hostname", source, &["rbind", "rprivate", access])?;
    }
    for volume in &config.mounts {
        list.push(volume_mount(volume)?);
    }
    // What lies deeper is mounted later.
    list.sort_by_key(|mount| mount.destination().components().count());
    Ok(Mounts { list, rootfs_propagation: rootfs_propagation(&config.mounts).to_owned() })
}

fn kernel_mounts(privileged: bool) -> Result<Vec<Mount>, SpecError> {
    let access = if privileged { "rw" } else { "ro" };
    let quiet = ["nosuid", "noexec", "nodev"];
    let with = |last: &'static str| [quiet[0], quiet[1], quiet[2], last];
    Ok(vec![
        mount("/proc", "proc", "proc", &quiet)?,
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        mount("/dev/mqueue", "mqueue", "mqueue", &quiet)?,
        mount("/sys", "sysfs", "sysfs", &with(access))?,
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", access],
        )?,
    ])
}

fn mount(
    destination: &str,
    kind: &str,
    source: &str,
    options: &[&str],
) -> Result<Mount, SpecError> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    let builder = MountBuilder::default().destination(destination).typ(kind).source(source);
    Ok(builder.options(options).build()?)
}

fn volume_mount(volume: &CriMount) -> Result<Mount, SpecError> {
    if !volume.container_path.starts_with('/') {
        let text = format!("mount path {:?} must be absolute", volume.container_path);
        return Err(SpecError::Invalid(text));
    }
    if volume.recursive_read_only
        && (!volume.readonly || volume.propagation != MountPropagation::Private)
    {
        return Err(SpecError::Invalid(
            "recursive read-only mount needs read-only and private propagation".to_owned(),
        ));
    }
    let source = host_path(&volume.host_path)?;
    let mut options = vec!["rbind"];
    options.push(match volume.propagation {
        MountPropagation::Private => "rprivate",
        MountPropagation::HostToContainer => "rslave",
        MountPropagation::Bidirectional => "rshared",
    });
    options.push(if volume.readonly { "ro" } else { "rw" });
    if volume.recursive_read_only {
        options.push("rro");
    }
    mount(&volume.container_path, "bind", &source.to_string_lossy(), &options)
}

/// The real path behind `path`; a directory is made when there is nothing, as containerd does.
fn host_path(path: &str) -> Result<PathBuf, SpecError> {
    let failed = |action| move |source| SpecError::Io { action, path: PathBuf::from(path), source };
    if !Path::new(path).exists() {
        std::fs::create_dir_all(path).map_err(failed("create mount source"))?;
    }
    std::fs::canonicalize(path).map_err(failed("resolve mount source"))
}

fn rootfs_propagation(mounts: &[CriMount]) -> &'static str {
    let any = |wanted| mounts.iter().any(|mount| mount.propagation == wanted);
    if any(MountPropagation::Bidirectional) {
        "shared"
    } else if any(MountPropagation::HostToContainer) {
        "slave"
    } else {
        "private"
    }
}
