//! `subPath`: a part of a volume, found without leaving it however the containers rearrange the links
//! in it.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{VolumeError, make_directory};
use crate::config::Config;

/// The place of `sub_path` within `volume`, made when it is missing. `mark` is a directory of this mount
/// alone: the part is bound there, so that nobody can exchange it afterwards.
pub(crate) fn resolve(
    config: &Config,
    volume: &Path,
    sub_path: &str,
    mark: &Path,
) -> Result<PathBuf, VolumeError> {
    let good = !sub_path.starts_with('/') && sub_path.split('/').all(|part| part != "..");
    if !good {
        return Err(VolumeError::Mount(format!("invalid subPath {sub_path:?}")));
    }
    let full = volume.join(sub_path);
    let found = open_or_make(volume, sub_path)?;
    if !config.mounts {
        return Ok(full);
    }
    let mounted = linux::mount::is_mount_point(mark).map_err(|error| VolumeError::mount(&error))?;
    if mounted {
        return Ok(mark.to_owned());
    }
    let is_directory = rustix::fs::fstat(&found)
        .map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
        .map_err(|error| VolumeError::file("look at", &full)(error.into()))?;
    if is_directory {
        make_directory(mark, 0o750)?;
    } else {
        if let Some(parent) = mark.parent() {
            make_directory(parent, 0o750)?;
        }
        std::fs::write(mark, b"").map_err(VolumeError::file("create", mark))?;
    }
    let source = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    linux::mount::bind(&source, mark, true).map_err(|error| VolumeError::mount(&error))?;
    Ok(mark.to_owned())
}

fn open(root: impl AsFd, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn open_or_make(volume: &Path, sub_path: &str) -> Result<OwnedFd, VolumeError> {
    let root = rustix::fs::open(volume, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| VolumeError::file("open", volume)(error.into()))?;
    let full = volume.join(sub_path);
    let failed = |error: rustix::io::Errno| {
        if error == rustix::io::Errno::XDEV {
            VolumeError::Mount(format!("subPath {sub_path:?} is not within the volume"))
        } else {
            VolumeError::file("open", &full)(error.into())
        }
    };
    match open(&root, sub_path, OFlags::empty()) {
        Ok(found) => return Ok(found),
        Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(failed(error)),
    }
    let mode = rustix::fs::fstat(&root).map_err(failed)?.st_mode;
    let mut at = root;
    for part in sub_path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        at = match open(&at, part, OFlags::empty()) {
            Err(rustix::io::Errno::NOENT) => {
                make(&at, part, mode).map_err(failed)?;
                open(&at, part, OFlags::DIRECTORY).map_err(failed)?
            }
            found => found.map_err(failed)?,
        };
    }
    Ok(at)
}

/// Makes a directory that is as open as the volume itself, whatever this process's mask is. What it inherits beyond the
/// nine bits, it keeps.
fn make(at: impl AsFd, name: &str, volume_mode: u32) -> rustix::io::Result<()> {
    let bits = volume_mode & 0o777;
    rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(bits))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let made = rustix::fs::openat2(&at, name, flags, Mode::empty(), resolve)?;
    let inherited = rustix::fs::fstat(&made)?.st_mode & 0o7000;
    rustix::fs::fchmod(&made, Mode::from_raw_mode(bits | inherited))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_as_open_as_its_volume() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let directory = tempfile::tempdir().unwrap();
        let (config, mark) =
            (Config { mounts: false, ..Config::new("n") }, directory.path().join("m"));
        for mode in [0o2777, 0o750] {
            let volume = directory.path().join(format!("{mode:o}"));
            std::fs::create_dir(&volume).unwrap();
            std::fs::set_permissions(&volume, std::fs::Permissions::from_mode(mode)).unwrap();
            let part = resolve(&config, &volume, "a/b", &mark).unwrap();
            for made in [&part, &volume.join("a")] {
                assert_eq!(made.metadata().unwrap().mode() & 0o7777, mode);
            }
        }
    }

    #[test]
    fn parts_are_made_and_links_out_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { mounts: false, ..Config::new("n") };
        let mark = directory.path().join("mark");
        let volume = directory.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        let found = resolve(&config, &volume, "a/b", &mark).unwrap();
        assert!(found.is_dir());
        std::os::unix::fs::symlink("/etc", volume.join("out")).unwrap();
        assert!(resolve(&config, &volume, "out/passwd", &mark).is_err());
        std::os::unix::fs::symlink("a", volume.join("in")).unwrap();
        assert!(resolve(&config, &volume, "in/b", &mark).is_ok());
        assert!(resolve(&config, &volume, "../x", &mark).is_err());
    }
}
