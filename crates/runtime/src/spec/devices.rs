//! Devices of the host in a container, and the rules of the device cgroup.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cri::ContainerConfig;
use linux::cgroup::devices::{DeviceKind, DeviceRule, MAKE, READ, WRITE};
use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use super::SpecError;

/// Directories below /dev that are mounts of their own in a container.
const NOT_DEVICES: &[&str] = &["pts", "shm", "fd", "mqueue", "console", "ptmx", "tty"];
/// Privileged containers see at most this many devices.
const DEVICES_MAX: usize = 4096;

/// The devices of a container besides the usual ones, which libcontainer makes.
pub(super) fn build(config: &ContainerConfig) -> Result<Vec<LinuxDevice>, SpecError> {
    let mut devices = Vec::new();
    if config.linux.security_context.privileged {
        collect(Path::new("/dev"), Path::new("/dev"), &mut devices)?;
        devices.retain(|device| !is_usual(device.path()));
    }
    for wanted in &config.devices {
        let host = fs::canonicalize(&wanted.host_path).map_err(|source| SpecError::Io {
            action: "find device",
            path: PathBuf::from(&wanted.host_path),
            source,
        })?;
        let before = devices.len();
        collect(&host, Path::new(&wanted.container_path), &mut devices)?;
        if devices.len() == before {
            return Err(SpecError::Invalid(format!("{} is no device", wanted.host_path)));
        }
    }
    Ok(devices)
}

fn is_usual(path: &Path) -> bool {
    const USUAL: &[&str] =
        &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
    USUAL.iter().any(|usual| Path::new(usual) == path)
}

/// Adds the device at `host`, or all devices below it.
fn collect(host: &Path, path: &Path, devices: &mut Vec<LinuxDevice>) -> Result<(), SpecError> {
    let Ok(metadata) = fs::symlink_metadata(host) else { return Ok(()) };
    if metadata.is_dir() {
        let Ok(entries) = fs::read_dir(host) else { return Ok(()) };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !NOT_DEVICES.iter().any(|skipped| name == *skipped) {
                collect(&entry.path(), &path.join(&name), devices)?;
            }
        }
        return Ok(());
    }
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => LinuxDeviceType::C,
        kind if kind.is_block_device() => LinuxDeviceType::B,
        _ => return Ok(()),
    };
    if devices.len() >= DEVICES_MAX {
        return Err(SpecError::Invalid("too many devices".to_owned()));
    }
    let (major, minor) = numbers(&metadata);
    let device = LinuxDeviceBuilder::default()
        .path(path)
        .typ(kind)
        .major(major)
        .minor(minor)
        .file_mode(metadata.mode() & 0o7777)
        .uid(metadata.uid())
        .gid(metadata.gid())
        .build()?;
    devices.push(device);
    Ok(())
}

fn numbers(metadata: &fs::Metadata) -> (i64, i64) {
    let device = metadata.rdev();
    (i64::from(rustix::fs::major(device)), i64::from(rustix::fs::minor(device)))
}

/// Everything for privileged containers; else nothing but the devices that are there.
pub(super) fn rules(config: &ContainerConfig) -> Result<Vec<LinuxDeviceCgroup>, SpecError> {
    let rule = |allow: bool| LinuxDeviceCgroupBuilder::default().allow(allow).access("rwm");
    if config.linux.security_context.privileged {
        return Ok(vec![rule(true).typ(LinuxDeviceType::A).build()?]);
    }
    let mut rules = vec![rule(false).typ(LinuxDeviceType::A).build()?];
    for wanted in &config.devices {
        let mut devices = Vec::new();
        let host = fs::canonicalize(&wanted.host_path).unwrap_or_default();
        collect(&host, Path::new(&wanted.container_path), &mut devices)?;
        let access = if wanted.permissions.is_empty() { "rwm" } else { &wanted.permissions };
        for device in devices {
            let builder = LinuxDeviceCgroupBuilder::default().allow(true).typ(device.typ());
            let builder = builder.major(device.major()).minor(device.minor()).access(access);
            rules.push(builder.build()?);
        }
    }
    Ok(rules)
}

/// The same for version 2, where libcontainer needs a C library; `None`: everything is allowed.
pub(crate) fn filter(config: &ContainerConfig) -> Result<Option<Vec<DeviceRule>>, SpecError> {
    if config.linux.security_context.privileged {
        return Ok(None);
    }
    let mut allowed = DeviceRule::usual();
    for wanted in &config.devices {
        let mut devices = Vec::new();
        let host = fs::canonicalize(&wanted.host_path).unwrap_or_default();
        collect(&host, Path::new(&wanted.container_path), &mut devices)?;
        let permissions =
            if wanted.permissions.is_empty() { "rwm" } else { wanted.permissions.as_str() };
        let bits = [('m', MAKE), ('r', READ), ('w', WRITE)];
        let granted = bits.iter().filter(|(letter, _)| permissions.contains(*letter));
        let access = granted.fold(0, |access, (_, bit)| access | bit);
        for device in devices {
            let kind = match device.typ() {
                LinuxDeviceType::B => DeviceKind::Block,
                _ => DeviceKind::Character,
            };
            let (major, minor) = (device.major().try_into().ok(), device.minor().try_into().ok());
            allowed.push(DeviceRule { kind, major, minor, access });
        }
    }
    Ok(Some(allowed))
}
