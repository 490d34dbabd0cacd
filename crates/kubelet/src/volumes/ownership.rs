//! The pod's file system group on the files of a volume.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

use super::VolumeError;

const SETGID: u32 = 0o2000;

/// Gives everything at and below `path` to `group` and lets the group use it.
pub(crate) fn apply(path: &Path, group: u32, readonly: bool) -> Result<(), VolumeError> {
    let metadata = std::fs::symlink_metadata(path).map_err(VolumeError::file("look at", path))?;
    if metadata.file_type().is_symlink() {
        return lchown(path, None, Some(group)).map_err(VolumeError::file("change group of", path));
    }
    lchown(path, None, Some(group)).map_err(VolumeError::file("change group of", path))?;
    let mut mode = metadata.permissions().mode() & 0o7777;
    mode |= if readonly { 0o440 } else { 0o660 };
    if metadata.is_dir() {
        mode |= SETGID | 0o110;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(VolumeError::file("set permissions of", path))?;
    if metadata.is_dir() {
        let entries = std::fs::read_dir(path).map_err(VolumeError::file("list", path))?;
        for entry in entries {
            let entry = entry.map_err(VolumeError::file("list", path))?;
            apply(&entry.path(), group, readonly)?;
        }
    }
    Ok(())
}

/// Like [`apply`], unless the top already looks as if that had been done.
pub(crate) fn apply_once(path: &Path, group: u32) -> Result<(), VolumeError> {
    let metadata = std::fs::metadata(path).map_err(VolumeError::file("look at", path))?;
    let done = metadata.gid() == group && metadata.permissions().mode() & SETGID != 0;
    if done { Ok(()) } else { apply(path, group, false) }
}
