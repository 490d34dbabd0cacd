//! What the files below a directory take of its disk, while their owners may rearrange them: one directory is
//! open at a time, found from the root without following any link, and what is remembered is bounded.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

/// How much of a tree is measured; more takes more time and memory than a figure is worth.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    files_max: u64,
    /// Bytes of the paths that wait to be looked into, and of one of them.
    pending_bytes_max: usize,
    path_bytes_max: usize,
}

/// A million files. The kernel takes no longer path, counting the zero at its end.
const BOUNDS: Bounds =
    Bounds { files_max: 1 << 20, pending_bytes_max: 16 << 20, path_bytes_max: 4095 };

const _: () = assert!(BOUNDS.path_bytes_max < BOUNDS.pending_bytes_max);

/// Space on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes in blocks.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
    /// Whether there was more than is measured.
    pub is_partial: bool,
}

/// Measures a directory with everything below it that is on the same disk. A file with several names counts once.
///
/// # Errors
/// It is no directory, or cannot be opened. What cannot be looked into below it counts for itself only.
pub fn of(directory: &Path) -> io::Result<DiskUsage> {
    let usage = within(directory, BOUNDS)?;
    if usage.is_partial {
        tracing::warn!(path = %directory.display(), "too many files; the rest is not measured");
    }
    Ok(usage)
}

fn within(directory: &Path, bounds: Bounds) -> io::Result<DiskUsage> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(directory, flags, Mode::empty())?;
    let about = rustix::fs::fstat(&root)?;
    let mut walk = Walk {
        root,
        device: about.st_dev,
        bounds,
        usage: DiskUsage::default(),
        pending: Vec::new(),
        pending_bytes: 0,
        known: HashSet::new(),
        files: 0,
    };
    walk.count(&about);
    walk.later(PathBuf::from("."));
    walk.run();
    Ok(walk.usage)
}

struct Walk {
    root: OwnedFd,
    device: u64,
    bounds: Bounds,
    usage: DiskUsage,
    pending: Vec<PathBuf>,
    pending_bytes: usize,
    /// Files with several names.
    known: HashSet<u64>,
    files: u64,
}

impl Walk {
    fn run(&mut self) {
        while let Some(path) = self.pending.pop() {
            self.pending_bytes -= path.as_os_str().len();
            // What has gone meanwhile takes nothing.
            if let Ok(directory) = self.open(&path) {
                self.look_into(&directory, &path);
            }
        }
    }

    fn open(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    fn look_into(&mut self, directory: &OwnedFd, path: &Path) {
        let Ok(entries) = Dir::read_from(directory) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if self.files == self.bounds.files_max {
                self.usage.is_partial = true;
                self.pending.clear();
                return;
            }
            self.files += 1;
            let about = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
            let Some(about) = about.ok().filter(|about| about.st_dev == self.device) else {
                continue;
            };
            self.count(&about);
            if is_directory(&about) {
                self.later(path.join(OsStr::from_bytes(name.to_bytes())));
            }
        }
    }

    fn later(&mut self, path: PathBuf) {
        let length = path.as_os_str().len();
        let bounds = self.bounds;
        if length > bounds.path_bytes_max || self.pending_bytes + length > bounds.pending_bytes_max
        {
            self.usage.is_partial = true;
            return;
        }
        self.pending_bytes += length;
        self.pending.push(path);
    }

    fn count(&mut self, about: &Stat) {
        if is_directory(about) || about.st_nlink == 1 || self.known.insert(about.st_ino) {
            self.usage.bytes += u64::try_from(about.st_blocks).unwrap_or(0) * 512;
            self.usage.inodes += 1;
        }
    }
}

fn is_directory(about: &Stat) -> bool {
    FileType::from_raw_mode(about.st_mode) == FileType::Directory
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Three directories, two links, and a file with two names.
    fn tree() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("outside"), vec![1; 1 << 20]).unwrap();
        fs::create_dir_all(at("volume/a/b")).unwrap();
        fs::write(at("volume/a/b/file"), vec![1; 64 << 10]).unwrap();
        fs::hard_link(at("volume/a/b/file"), at("volume/again")).unwrap();
        symlink(at("outside"), at("volume/link")).unwrap();
        symlink(directory.path(), at("volume/out")).unwrap();
        directory
    }

    #[test]
    fn files_count_once_and_links_are_not_followed() {
        let directory = tree();
        let at = |name: &str| directory.path().join(name);
        let used = of(&at("volume")).unwrap();
        assert_eq!((used.inodes, used.is_partial), (6, false));
        assert!((64 << 10..512 << 10).contains(&used.bytes), "{used:?}");
        symlink(at("volume"), at("other")).unwrap();
        for name in ["other", "outside", "gone"] {
            assert!(of(&at(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn another_disk_is_not_counted() {
        let directory = tempfile::tempdir().unwrap();
        let mount = directory.path().join("mount");
        fs::create_dir(&mount).unwrap();
        crate::mount::bind(Path::new("/proc/self"), &mount, true).unwrap();
        let used = of(directory.path());
        crate::mount::unmount(&mount).unwrap();
        assert_eq!(used.unwrap().inodes, 1);
    }

    #[test]
    fn what_is_beyond_the_bounds_is_told() {
        let directory = tree();
        let volume = directory.path().join("volume");
        let measured = |bounds| {
            let used = within(&volume, bounds).unwrap();
            (used.inodes, used.is_partial)
        };
        // Six names below the root, of which two are of one file.
        assert_eq!(measured(Bounds { files_max: 6, ..BOUNDS }), (6, false));
        let (inodes, is_partial) = measured(Bounds { files_max: 5, ..BOUNDS });
        assert!(inodes <= 6 && is_partial);
        assert_eq!(measured(Bounds { files_max: 0, ..BOUNDS }), (1, true));
        // `./a` fits, `./a/b` does not: it counts, what is in it does not, but for its other name.
        assert_eq!(measured(Bounds { path_bytes_max: 3, ..BOUNDS }), (6, true));
        assert_eq!(measured(Bounds { pending_bytes_max: 2, ..BOUNDS }), (5, true));
        assert_eq!(measured(Bounds { pending_bytes_max: 0, ..BOUNDS }), (1, true));
    }

    #[test]
    fn paths_longer_than_the_kernels_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let name = "n".repeat(250);
        let mut current = rustix::fs::open(
            directory.path(),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
        for _ in 0..20 {
            rustix::fs::mkdirat(&current, &name, Mode::RWXU).unwrap();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            current = rustix::fs::openat(&current, &name, flags, Mode::empty()).unwrap();
        }
        let used = of(directory.path()).unwrap();
        // 4095 bytes have room for sixteen names of 251 bytes, and the one after those is seen.
        assert_eq!((used.inodes, used.is_partial), (1 + 17, true));
    }
}
