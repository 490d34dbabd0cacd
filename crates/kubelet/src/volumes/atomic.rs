//! Files that change all at once: a new directory is filled, then one symbolic link is turned to it.
//!
//! The layout is upstream's, because programs watch it: the visible names are links to `..data/<name>`,
//! and `..data` is a link to a directory with the time in its name.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use podlife::projection::{File, Files, is_safe_path};

use super::{VolumeError, ownership};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Makes `directory` show exactly `files`; whether anything changed. `owner` gets the files.
pub(crate) fn write(
    directory: &Path,
    files: &Files,
    group: Option<u32>,
    owner: Option<u32>,
) -> Result<bool, VolumeError> {
    if let Some(bad) = files.keys().find(|path| !is_safe_path(path)) {
        return Err(VolumeError::Mount(format!("invalid path {bad:?} in the volume")));
    }
    let data = directory.join(DATA);
    let current = fs::read_link(&data).ok();
    if current.is_some() && is_current(&data, files, group) {
        return Ok(false);
    }
    let fresh = make_fresh(directory, current.as_deref())?;
    for (path, file) in files {
        write_file(&fresh, path, file, owner)?;
    }
    if let Some(group) = group {
        ownership::apply(&fresh, group, true)?;
    }
    turn(directory, &fresh)?;
    link_names(directory, files)?;
    if let Some(old) = current {
        let old = directory.join(old);
        fs::remove_dir_all(&old).map_err(VolumeError::file("remove", &old))?;
    }
    Ok(true)
}

fn is_current(data: &Path, files: &Files, group: Option<u32>) -> bool {
    let mut there = BTreeSet::new();
    list(data, Path::new(""), &mut there);
    let expected: BTreeSet<PathBuf> = files.keys().map(PathBuf::from).collect();
    there == expected
        && files.iter().all(|(path, file)| {
            let path = data.join(path);
            let mode = fs::metadata(&path).map(|it| it.permissions().mode() & 0o777).unwrap_or(0);
            let extra = if group.is_some() { 0o440 } else { 0 };
            mode == (file.mode & 0o777) | extra
                && fs::read(&path).is_ok_and(|content| content == file.content)
        })
}

fn list(root: &Path, below: &Path, into: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(root.join(below)) else { return };
    for entry in entries.flatten() {
        let path = below.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(root, &path, into);
        } else {
            into.insert(path);
        }
    }
}

/// A new directory, named as upstream does: two dots and the time, here a number that counts up.
fn make_fresh(directory: &Path, current: Option<&Path>) -> Result<PathBuf, VolumeError> {
    let taken = current.and_then(|name| name.to_str()?.rsplit('.').next()?.parse::<u64>().ok());
    let mut number = taken.map_or(1, |taken| taken + 1);
    loop {
        let path = directory.join(format!("..data.{number}"));
        match fs::create_dir(&path) {
            Ok(()) => {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                    .map_err(VolumeError::file("set permissions of", &path))?;
                return Ok(path);
            }
            // Left behind by a process that died in the middle.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                fs::remove_dir_all(&path).map_err(VolumeError::file("remove", &path))?;
                number += 1;
            }
            Err(error) => return Err(VolumeError::file("create", &path)(error)),
        }
    }
}

fn write_file(root: &Path, path: &str, file: &File, owner: Option<u32>) -> Result<(), VolumeError> {
    let path = root.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(VolumeError::file("create", parent))?;
    }
    fs::write(&path, &file.content).map_err(VolumeError::file("write", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))
        .map_err(VolumeError::file("set permissions of", &path))?;
    if let Some(owner) = owner {
        chown(&path, Some(owner), None).map_err(VolumeError::file("change owner of", &path))?;
    }
    Ok(())
}

fn turn(directory: &Path, fresh: &Path) -> Result<(), VolumeError> {
    let link = directory.join(DATA_NEW);
    match fs::remove_file(&link) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(VolumeError::file("remove", &link)(error));
        }
        _ => {}
    }
    let name = fresh.file_name().unwrap_or_default();
    symlink(name, &link).map_err(VolumeError::file("link", &link))?;
    fs::rename(&link, directory.join(DATA)).map_err(VolumeError::file("turn", &link))
}

fn link_names(directory: &Path, files: &Files) -> Result<(), VolumeError> {
    let wanted: BTreeSet<&str> =
        files.keys().map(|path| path.split('/').next().unwrap_or_default()).collect();
    for name in &wanted {
        let link = directory.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link).map_err(VolumeError::file("link", &link))?;
        }
    }
    let entries = fs::read_dir(directory).map_err(VolumeError::file("list", directory))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(&*name) {
            fs::remove_file(entry.path()).map_err(VolumeError::file("remove", &entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter()
            .map(|(path, content)| {
                let file = File { content: content.as_bytes().to_vec(), mode: 0o640 };
                ((*path).to_owned(), file)
            })
            .collect()
    }

    #[test]
    fn files_appear_change_and_go_together() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert!(write(root, &files(&[("a", "1"), ("b/c", "2")]), None, None).unwrap());
        assert_eq!(fs::read_to_string(root.join("b/c")).unwrap(), "2");
        assert!(fs::symlink_metadata(root.join("a")).unwrap().file_type().is_symlink());
        assert!(!write(root, &files(&[("a", "1"), ("b/c", "2")]), None, None).unwrap());
        assert!(write(root, &files(&[("a", "3")]), None, None).unwrap());
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "3");
        assert!(!root.join("b").exists());
        assert!(write(root, &Files::new(), None, None).unwrap());
        let left: Vec<_> = fs::read_dir(root).unwrap().flatten().map(|it| it.file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(write(root, &files(&[("../x", "1")]), None, None).is_err());
    }
}
