//! Making files below a directory without ever leaving it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dev, Dir, FileType, Mode, OFlags, ResolveFlags, Timestamps};
use rustix::io::Errno;
use tar::EntryType;

use super::attributes::{self, Attributes};
use crate::store::LayerInfo;

/// What was made, as far as its attributes care.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Symlink,
    Node,
}

/// The directory that a layer is unpacked into.
pub(super) struct Tree {
    root: OwnedFd,
    below: Vec<OwnedFd>,
    /// The directory that was used last: archives list a directory's files one after the other.
    last: Option<(PathBuf, OwnedFd)>,
}

impl Tree {
    pub(super) fn open(target: &Path, below: &[PathBuf]) -> io::Result<Self> {
        let open = |path: &Path| rustix::fs::open(path, DIRECTORY, Mode::empty());
        let below = below.iter().map(|path| open(path)).collect::<Result<_, _>>()?;
        Ok(Self { root: open(target)?, below, last: None })
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Opens the directory that `path` is in, making those that are missing.
    pub(super) fn parent_of(&mut self, path: &Path, info: &mut LayerInfo) -> io::Result<OwnedFd> {
        let parent = path.parent().unwrap_or_else(|| Path::new(""));
        if let Some((last, fd)) = &self.last
            && last == parent
        {
            return fd.try_clone();
        }
        let fd = match open_beneath(&self.root, parent, DIRECTORY) {
            Err(Errno::NOENT) => self.make_parents(parent, info)?,
            result => result?,
        };
        self.last = Some((parent.to_owned(), fd.try_clone()?));
        Ok(fd)
    }

    fn make_parents(&self, path: &Path, info: &mut LayerInfo) -> io::Result<OwnedFd> {
        let mut current = self.root.try_clone()?;
        let mut so_far = PathBuf::new();
        for component in path.components() {
            let parent = current;
            so_far.push(component);
            current = match open_beneath(&self.root, &so_far, DIRECTORY) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&parent, component.as_os_str(), Mode::from(0o755))?;
                    info.inodes += 1;
                    if let Some(model) = self.find_below(&so_far) {
                        attributes::copy_directory(&model, &parent, component.as_os_str())?;
                    }
                    open_beneath(&parent, Path::new(component.as_os_str()), DIRECTORY)?
                }
                result => result?,
            };
        }
        Ok(current)
    }

    fn find_below(&self, path: &Path) -> Option<OwnedFd> {
        self.below.iter().find_map(|root| open_beneath(root, path, DIRECTORY).ok())
    }

    /// Links `name` to the file at `path`, which must be in this layer.
    pub(super) fn make_hard_link(
        &self,
        parent: &OwnedFd,
        name: &Path,
        path: &Path,
    ) -> io::Result<()> {
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        let Some(file) = path.file_name() else { return Err(Errno::ISDIR.into()) };
        let directory = open_beneath(&self.root, directory, DIRECTORY)?;
        clear(parent, name)?;
        Ok(rustix::fs::linkat(directory, file, parent, name, AtFlags::empty())?)
    }

    /// Sets the times of a directory; one that was replaced meanwhile is left alone.
    pub(super) fn set_times(&self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        let nofollow = OFlags::NOFOLLOW | DIRECTORY;
        match open_beneath(&self.root, path, nofollow) {
            Ok(fd) => attributes.set_times(&fd, Path::new(".")),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn open_beneath(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

pub(super) fn make_directory(parent: &OwnedFd, name: &Path) -> io::Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::from(0o755)) {
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                return Ok(());
            }
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            Ok(rustix::fs::mkdirat(parent, name, Mode::from(0o755))?)
        }
        result => Ok(result?),
    }
}

pub(super) fn make_file(parent: &OwnedFd, name: &Path, content: &mut impl Read) -> io::Result<u64> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || rustix::fs::openat(parent, name, flags, Mode::from(0o600));
    let fd = match create() {
        Err(Errno::EXIST) => {
            clear(parent, name)?;
            create()?
        }
        result => result?,
    };
    io::copy(content, &mut File::from(fd))
}

pub(super) fn make_symlink(parent: &OwnedFd, name: &Path, to: &Path) -> io::Result<()> {
    clear(parent, name)?;
    Ok(rustix::fs::symlinkat(to, parent, name)?)
}

pub(super) fn make_node(
    parent: &OwnedFd,
    name: &Path,
    kind: EntryType,
    device: Dev,
) -> io::Result<()> {
    clear(parent, name)?;
    let kind = match kind {
        EntryType::Char => FileType::CharacterDevice,
        EntryType::Block => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    Ok(rustix::fs::mknodat(parent, name, kind, Mode::from(0o600), device)?)
}

/// Hides `name` of the layers below, unless this layer has a file of that name itself.
pub(super) fn make_whiteout(parent: &OwnedFd, name: &str) -> io::Result<()> {
    let device = rustix::fs::makedev(0, 0);
    let made = rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), device);
    match made {
        Err(Errno::EXIST) => Ok(()),
        result => Ok(result?),
    }
}

/// Removes what an earlier entry of the same name made.
fn clear(parent: &OwnedFd, name: &Path) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => remove_directory(parent, name.as_os_str()),
        Err(Errno::NOENT) => Ok(()),
        result => Ok(result?),
    }
}

fn remove_directory(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let flags = DIRECTORY | OFlags::NOFOLLOW;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        clear(&directory, Path::new(OsStr::from_bytes(name.to_bytes())))?;
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Sets the modification time of `name` in `parent`.
pub(super) fn set_times(parent: impl AsFd, name: &Path, times: &Timestamps) -> io::Result<()> {
    Ok(rustix::fs::utimensat(parent, name, times, AtFlags::SYMLINK_NOFOLLOW)?)
}

use std::os::unix::ffi::OsStrExt;
