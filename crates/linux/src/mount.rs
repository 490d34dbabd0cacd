//! Mounting and unmounting, and the table of what is mounted. Not here: overlayfs ([`crate::overlay`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// A failed mount operation.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}")]
pub struct MountError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl MountError {
    pub(crate) fn new(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self { action, path: path.to_owned(), source: source.into() }
    }

    /// The kernel's error.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// A line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Where.
    pub target: PathBuf,
    /// Which part of the file system.
    pub root: PathBuf,
    /// File system type.
    pub kind: String,
    /// Source, as the file system names it.
    pub source: String,
    /// Options of the mount.
    pub options: String,
    /// Options of the file system.
    pub super_options: String,
    /// `shared:…`, `master:…` and the like.
    pub propagation: String,
}

/// Everything that is mounted, in the order of mounting.
pub fn table() -> Result<Vec<MountEntry>, MountError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(path).map_err(|error| MountError::new("read", path, error))?;
    Ok(text.lines().filter_map(parse_line).collect())
}

/// Where something is mounted, in the order of mounting.
fn targets() -> Result<Vec<PathBuf>, MountError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(path).map_err(|error| MountError::new("read", path, error))?;
    let target = |line: &str| line.split(' ').nth(4).map(|target| PathBuf::from(unescape(target)));
    Ok(text.lines().filter_map(target).collect())
}

fn parse_line(line: &str) -> Option<MountEntry> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, target, options) = (left.next()?, left.next()?, left.next()?);
    let propagation = left.collect::<Vec<_>>().join(" ");
    let mut right = right.split(' ');
    let (kind, source) = (right.next()?, right.next()?);
    Some(MountEntry {
        target: PathBuf::from(unescape(target)),
        root: PathBuf::from(unescape(root)),
        kind: kind.to_owned(),
        source: unescape(source),
        options: options.to_owned(),
        super_options: right.next().unwrap_or("").to_owned(),
        propagation,
    })
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether something is mounted exactly at `path`. Does not read the table, which is long where many
/// containers run.
pub fn is_mount_point(path: &Path) -> Result<bool, MountError> {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    use rustix::io::Errno;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match statx(CWD, path, flags, StatxFlags::empty()) {
        Ok(found) => Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(error) => Err(MountError::new("look at", path, error)),
    }
}

/// Mounts `source` at `target`, with everything below it when `recursive`.
pub fn bind(source: &Path, target: &Path, recursive: bool) -> Result<(), MountError> {
    let done = if recursive {
        rustix::mount::mount_bind_recursive(source, target)
    } else {
        rustix::mount::mount_bind(source, target)
    };
    done.map_err(|error| MountError::new("bind", target, error))
}

/// Makes the mount at `target` read-only; not what is mounted below it.
pub fn make_readonly(target: &Path) -> Result<(), MountError> {
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    rustix::mount::mount_remount(target, flags, "")
        .map_err(|error| MountError::new("make read-only", target, error))
}

/// Mounts a tmpfs; `options` such as `size=64m,mode=1777`.
pub fn tmpfs(target: &Path, flags: MountFlags, options: &str) -> Result<(), MountError> {
    let options = std::ffi::CString::new(options)
        .map_err(|error| MountError::new("mount tmpfs", target, io::Error::other(error)))?;
    rustix::mount::mount("tmpfs", target, "tmpfs", flags, options.as_c_str())
        .map_err(|error| MountError::new("mount tmpfs", target, error))
}

/// How mounts at and below a mount travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Both ways.
    Shared,
    /// To here only.
    Slave,
    /// Not at all.
    Private,
}

/// Changes how mounts travel at `target` and below it.
pub fn set_propagation(target: &Path, propagation: Propagation) -> Result<(), MountError> {
    let flags = match propagation {
        Propagation::Shared => MountPropagationFlags::SHARED,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        Propagation::Private => MountPropagationFlags::PRIVATE,
    };
    rustix::mount::mount_change(target, flags | MountPropagationFlags::REC)
        .map_err(|error| MountError::new("change propagation of", target, error))
}

/// Unmounts what is mounted at `target`, also when it is busy (it then disappears when it no longer is).
/// Nothing mounted there is a success.
pub fn unmount(target: &Path) -> Result<(), MountError> {
    use rustix::io::Errno;
    match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(MountError::new("unmount", target, error)),
    }
}

/// Unmounts everything at and below `root`, the latest first, and answers where that was. Goes on after a
/// failure and answers the first one.
pub fn unmount_below(root: &Path) -> Result<Vec<PathBuf>, MountError> {
    let mut targets = targets()?;
    targets.retain(|target| target.starts_with(root));
    let mut first = Ok(());
    for target in targets.iter().rev() {
        let done = unmount(target);
        if first.is_ok() {
            first = done;
        }
    }
    first.map(|()| targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line =
            r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let entry = parse_line(line).unwrap();
        assert_eq!(entry.target, Path::new("/mnt 2"));
        assert_eq!(entry.root, Path::new("/mnt1"));
        assert_eq!((entry.kind.as_str(), entry.source.as_str()), ("ext3", "/dev/root"));
        assert_eq!(entry.propagation, "master:1");
        assert_eq!(entry.super_options, "rw,errors=continue");
        assert_eq!(parse_line("nonsense"), None);
    }

    #[test]
    fn only_octal_escapes_are_unescaped() {
        assert_eq!(unescape(r"a\134b\x\04"), r"a\b\x\04");
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(is_mount_point(Path::new("/")).unwrap());
        assert!(!is_mount_point(Path::new("/nowhere")).unwrap());
    }
}
