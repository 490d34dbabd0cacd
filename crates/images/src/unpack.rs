//! Unpacks a layer's tar into a directory for overlayfs.
//!
//! Every path is resolved by the kernel below the directory (`openat2` with `RESOLVE_BENEATH`), so neither
//! `..` nor a symbolic link that the layer itself brings can lead outside; such an entry fails the layer.
//! Whiteouts become character devices 0/0 and the attribute `trusted.overlay.opaque`. Not here: digests and
//! compression ([`crate::layer`]), and cleaning up after a failure ([`crate::store`]).

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Entry, EntryType};

use crate::error::LayerProblem;
use crate::limits::{LAYER_ENTRIES_MAX, PATH_BYTES_MAX};
use crate::store::LayerInfo;

mod attributes;
mod tree;

use attributes::Attributes;
use tree::Tree;

const WHITEOUT_PREFIX: &str = ".wh.";
const WHITEOUT_OPAQUE: &str = ".wh..wh..opq";
const WHITEOUT_META_PREFIX: &str = ".wh..wh.";

/// Unpacks `tar` into `target`; `below` are the directories of the layers below, the topmost first, from
/// which directories that the layer only implies take their attributes.
pub(crate) fn unpack(
    tar: impl Read,
    target: &Path,
    below: &[PathBuf],
) -> Result<LayerInfo, LayerProblem> {
    let mut unpacker = Unpacker {
        tree: Tree::open(target, below).map_err(LayerProblem::Damaged)?,
        info: LayerInfo::default(),
        directories: Vec::new(),
    };
    let mut archive = Archive::new(tar);
    let mut count = 0;
    for entry in archive.entries().map_err(LayerProblem::Damaged)? {
        count += 1;
        if count > LAYER_ENTRIES_MAX {
            return Err(LayerProblem::TooMuch { what: "entries", limit: LAYER_ENTRIES_MAX });
        }
        unpacker.entry(entry.map_err(LayerProblem::Damaged)?)?;
    }
    unpacker.finish()
}

struct Unpacker {
    tree: Tree,
    info: LayerInfo,
    /// Directories whose times are set at the end, because filling them changes them.
    directories: Vec<(PathBuf, Attributes)>,
}

/// An entry's place: the directory it is in and its name there.
struct Place {
    path: PathBuf,
    parent: OwnedFd,
    name: OsString,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), LayerProblem> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = clean(&entry.path_bytes())?;
        let shown = path.to_string_lossy().into_owned();
        let attributes = Attributes::of(&mut entry)
            .map_err(|source| failure(&shown, "read attributes of", source))?;
        let Some(name) = path.file_name().map(ToOwned::to_owned) else {
            return self.root(&shown, &attributes);
        };
        let parent = self
            .tree
            .parent_of(&path, &mut self.info)
            .map_err(|source| failure(&shown, "create the directories of", source))?;
        let place = Place { path, parent, name };
        if let Some(hidden) = place
            .name
            .to_str()
            .and_then(|name| name.starts_with(WHITEOUT_PREFIX).then(|| name.to_owned()))
        {
            return self.whiteout(&place, &hidden).map_err(|s| failure(&shown, "whiteout", s));
        }
        self.make(kind, &place, &mut entry, &attributes)
            .map_err(|(action, source)| failure(&shown, action, source))?;
        self.info.inodes += 1;
        Ok(())
    }

    /// The entry for the root itself carries attributes only.
    fn root(&mut self, shown: &str, attributes: &Attributes) -> Result<(), LayerProblem> {
        let root = self.tree.root();
        attributes
            .apply(root, Path::new("."), tree::Kind::Directory)
            .map_err(|source| failure(shown, "set attributes of", source))?;
        self.directories.push((PathBuf::from("."), attributes.clone()));
        Ok(())
    }

    fn whiteout(&mut self, place: &Place, name: &str) -> io::Result<()> {
        if name == WHITEOUT_OPAQUE {
            return attributes::set_opaque(&place.parent);
        }
        if name.starts_with(WHITEOUT_META_PREFIX) {
            return Ok(());
        }
        let hidden = &name[WHITEOUT_PREFIX.len()..];
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        tree::make_whiteout(&place.parent, hidden)
    }

    fn make<R: Read>(
        &mut self,
        kind: EntryType,
        place: &Place,
        entry: &mut Entry<'_, R>,
        attributes: &Attributes,
    ) -> Result<(), (&'static str, io::Error)> {
        let (parent, name) = (&place.parent, Path::new(&place.name));
        let as_kind = match kind {
            EntryType::Directory => {
                tree::make_directory(parent, name).map_err(|e| ("create directory", e))?;
                self.directories.push((place.path.clone(), attributes.clone()));
                tree::Kind::Directory
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let written = tree::make_file(parent, name, entry).map_err(|e| ("write", e))?;
                self.info.bytes += written;
                tree::Kind::File
            }
            EntryType::Symlink => {
                let to = link_target(entry).map_err(|e| ("read link of", e))?;
                tree::make_symlink(parent, name, &to).map_err(|e| ("create symbolic link", e))?;
                tree::Kind::Symlink
            }
            EntryType::Link => {
                let to = link_target(entry).map_err(|e| ("read link of", e))?;
                let to = clean(to.as_os_str().as_encoded_bytes())
                    .map_err(|_| ("create hard link", escape()))?;
                return self
                    .tree
                    .make_hard_link(parent, name, &to)
                    .map_err(|e| ("create hard link", e));
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let device = device(entry).map_err(|e| ("read device number of", e))?;
                tree::make_node(parent, name, kind, device).map_err(|e| ("create node", e))?;
                tree::Kind::Node
            }
            other => {
                let text = format!("unknown entry type {:?}", char::from(other.as_byte()));
                return Err(("unpack", io::Error::new(io::ErrorKind::InvalidData, text)));
            }
        };
        attributes.apply(parent, name, as_kind).map_err(|e| ("set attributes of", e))
    }

    fn finish(self) -> Result<LayerInfo, LayerProblem> {
        for (path, attributes) in self.directories.iter().rev() {
            self.tree
                .set_times(path, attributes)
                .map_err(|source| failure(&path.to_string_lossy(), "set times of", source))?;
        }
        Ok(self.info)
    }
}

fn link_target<R: Read>(entry: &Entry<'_, R>) -> io::Result<PathBuf> {
    let bytes = entry.link_name_bytes().map(|bytes| bytes.into_owned()).unwrap_or_default();
    if bytes.is_empty() || bytes.len() > PATH_BYTES_MAX || bytes.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "bad link target"));
    }
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

fn device<R: Read>(entry: &Entry<'_, R>) -> io::Result<rustix::fs::Dev> {
    let header = entry.header();
    let major = header.device_major()?.unwrap_or(0);
    let minor = header.device_minor()?.unwrap_or(0);
    Ok(rustix::fs::makedev(major, minor))
}

/// The path below the root; a leading `/` or `.` is dropped, `..` is an attack.
fn clean(bytes: &[u8]) -> Result<PathBuf, LayerProblem> {
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    if bytes.contains(&0) || bytes.len() > PATH_BYTES_MAX {
        return Err(LayerProblem::Name { entry: shown() });
    }
    let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => return Err(LayerProblem::Escape { entry: shown() }),
            _ => {}
        }
    }
    Ok(cleaned)
}

fn escape() -> io::Error {
    rustix::io::Errno::XDEV.into()
}

/// The kernel answers `EXDEV` when a path would leave the directory.
fn failure(entry: &str, action: &'static str, source: io::Error) -> LayerProblem {
    let entry = entry.to_owned();
    if source.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) {
        LayerProblem::Escape { entry }
    } else {
        LayerProblem::Entry { entry, action, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_relative_and_cannot_climb() {
        for (text, cleaned) in [("./a/b", "a/b"), ("/a", "a"), ("a//b/./c", "a/b/c"), ("./", "")] {
            assert_eq!(clean(text.as_bytes()).unwrap(), Path::new(cleaned), "{text}");
        }
        for text in ["../a", "a/../../b", "/..", "a/.."] {
            assert!(matches!(clean(text.as_bytes()), Err(LayerProblem::Escape { .. })), "{text}");
        }
        assert!(matches!(clean(b"a\0b"), Err(LayerProblem::Name { .. })));
    }
}
