//! The files of a group.

use std::fs;
use std::io;
use std::path::Path;

use super::CgroupError;

pub(super) fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    // Not `fs::write`: the files cannot be truncated or made.
    let written = fs::File::options()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
    written.map_err(|source| CgroupError::File { action: "write", path: path.to_owned(), source })
}

pub(super) fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// A number; `max` and v1's "no limit" are `None`.
pub(super) fn number(path: &Path) -> Option<u64> {
    /// v1 shows no limit as the largest multiple of the page size.
    const UNLIMITED: u64 = 1 << 62;
    read(path)?.parse().ok().filter(|number| *number < UNLIMITED)
}

/// The value of `key` in a file of lines `key value`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok()).flatten()
    })
}

pub(super) fn create(path: &Path) -> Result<bool, CgroupError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(CgroupError::File { action: "create", path: path.to_owned(), source }),
    }
}

/// Processes of the group at `directory` and of all below it.
pub(super) fn processes(directory: &Path) -> Vec<i32> {
    let mut pids: Vec<i32> = read(&directory.join("cgroup.procs"))
        .map(|text| text.lines().filter_map(|line| line.parse().ok()).collect())
        .unwrap_or_default();
    for child in children(directory) {
        pids.extend(processes(&child));
    }
    pids
}

fn children(directory: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let directories = entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

/// Removes a group with those below it. The files in it go with it.
pub(super) fn remove_tree(directory: &Path) -> Result<(), CgroupError> {
    for child in children(directory) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CgroupError::File { action: "remove", path: directory.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_whole_words() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3";
        assert_eq!(keyed(text, "oom_kill"), Some(3));
        assert_eq!(keyed(text, "oom"), None);
    }
}
