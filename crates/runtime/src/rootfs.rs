//! The root file system of a container, seen from outside: no path of it can lead out of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Larger files of the image are not read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// An opened root.
#[derive(Debug)]
pub(crate) struct Rootfs(OwnedFd);

impl Rootfs {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// A file of the image as text; empty when there is none.
    pub(crate) fn read_text(&self, path: &str) -> io::Result<String> {
        // Not blocking: the image may have put a pipe there.
        let file = match self.resolve(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(String::new()),
            Err(error) => return Err(error.into()),
        };
        if !file.metadata()?.is_file() {
            return Ok(String::new());
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Makes the directory and those above it, unless it is there.
    pub(crate) fn make_directory(&self, path: &str) -> io::Result<()> {
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        let mut so_far = PathBuf::from("/");
        let mut parent = self.resolve(&so_far, directory)?;
        for component in Path::new(path).components() {
            let Component::Normal(name) = component else { continue };
            so_far.push(name);
            parent = match self.resolve(&so_far, directory) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&parent, name, Mode::from(0o755))?;
                    self.resolve(&so_far, directory)?
                }
                result => result?,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_of_the_image_stay_inside() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(directory.path().join("secret"), "outside").unwrap();
        std::fs::write(root.join("real"), "inside").unwrap();
        symlink("../../secret", root.join("etc/passwd")).unwrap();
        symlink("/real", root.join("etc/group")).unwrap();
        symlink("/", root.join("up")).unwrap();
        let rootfs = Rootfs::open(&root).unwrap();
        assert_eq!(rootfs.read_text("/etc/passwd").unwrap(), "");
        assert_eq!(rootfs.read_text("/etc/group").unwrap(), "inside");
        assert_eq!(rootfs.read_text("/etc").unwrap(), "");
        rootfs.make_directory("/up/made/dir").unwrap();
        assert!(root.join("made/dir").is_dir());
        assert!(rootfs.make_directory("/real/x").is_err());
    }
}
