//! Owner, mode, times and extended attributes of unpacked files.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use tar::Entry;

use super::tree::{self, Kind};
use crate::limits::XATTRS_MAX;

const OPAQUE: &str = "trusted.overlay.opaque";
const XATTR_KEY_PREFIX: &str = "SCHILY.xattr.";

/// The attributes of one entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    seconds: i64,
    nanoseconds: i64,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl Attributes {
    pub(super) fn of<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Self> {
        let header = entry.header();
        let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("id out of range"));
        let mut attributes = Self {
            mode: header.mode()? & 0o7777,
            // Writers leave fields blank that a later extension fills, or that mean 0.
            uid: id(header.uid().unwrap_or(0))?,
            gid: id(header.gid().unwrap_or(0))?,
            seconds: header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or(0),
            ..Self::default()
        };
        attributes.read_extensions(entry)?;
        Ok(attributes)
    }

    fn read_extensions<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
        for extension in extensions {
            let extension = extension?;
            let Ok(key) = extension.key() else { continue };
            let number = || extension.value().ok().and_then(|value| value.parse().ok());
            match key {
                "uid" => self.uid = number().unwrap_or(self.uid),
                "gid" => self.gid = number().unwrap_or(self.gid),
                "mtime" => self.read_time(extension.value().unwrap_or_default()),
                _ => {
                    if let Some(name) = key.strip_prefix(XATTR_KEY_PREFIX)
                        && is_kept(name)
                        && self.xattrs.len() < XATTRS_MAX
                    {
                        self.xattrs.push((name.to_owned(), extension.value_bytes().to_vec()));
                    }
                }
            }
        }
        Ok(())
    }

    fn read_time(&mut self, text: &str) {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let Ok(seconds) = seconds.parse() else { return };
        self.seconds = seconds;
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        self.nanoseconds = digits.parse().unwrap_or(0);
    }

    /// Sets everything except a directory's times, which change again while it is filled. The owner comes
    /// first, because changing it clears setuid bits and capabilities.
    pub(super) fn apply(&self, parent: impl AsFd, name: &Path, kind: Kind) -> io::Result<()> {
        let parent = parent.as_fd();
        let owner = (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)));
        rustix::fs::chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != Kind::Symlink {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        for (key, value) in &self.xattrs {
            set_xattr(parent, name, key, value)?;
        }
        if kind == Kind::Directory { Ok(()) } else { self.set_times(parent, name) }
    }

    pub(super) fn set_times(&self, parent: impl AsFd, name: &Path) -> io::Result<()> {
        let time = Timespec { tv_sec: self.seconds, tv_nsec: self.nanoseconds };
        tree::set_times(parent, name, &Timestamps { last_access: time, last_modification: time })
    }
}

/// `user.*` and file capabilities are the image's; overlayfs' own attributes would let a layer redirect
/// lookups, and security labels belong to the host.
fn is_kept(name: &str) -> bool {
    name.starts_with("user.")
        || name == "security.capability"
        || name.starts_with("system.posix_acl")
}

fn set_xattr(parent: impl AsFd, name: &Path, key: &str, value: &[u8]) -> io::Result<()> {
    let path = reachable(parent, name);
    match rustix::fs::lsetxattr(&path, key, value, XattrFlags::empty()) {
        // The file system below the store decides which attributes exist; containerd skips these too.
        Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) if key.starts_with("user.") => {
            Ok(())
        }
        result => Ok(result?),
    }
}

/// Extended attributes have no `*at` calls; the descriptor's magic link is the same as one.
fn reachable(parent: impl AsFd, name: &Path) -> PathBuf {
    let descriptor = parent.as_fd().as_raw_fd();
    PathBuf::from(format!("/proc/self/fd/{descriptor}")).join(name)
}

/// Marks a directory so that those of the layers below do not shine through.
pub(super) fn set_opaque(directory: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())?)
}

/// Gives the new directory `name` the owner and mode of `model`, which it hides.
pub(super) fn copy_directory(model: &OwnedFd, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let stat = rustix::fs::fstat(model)?;
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    rustix::fs::chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    Ok(rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?)
}
