//! Where an import reads from: a directory, or a tar archive that is read in place through an index of its
//! entries. A compressed archive is first written out, because its entries are needed out of order.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

use crate::Error;
use crate::layer::decompress;
use crate::limits::{LAYER_ENTRIES_MAX, LAYER_UNPACKED_BYTES_MAX};

/// Links of an archive point at other entries, but not in circles.
const LINKS_MAX: usize = 8;

pub(super) enum Source {
    Directory(PathBuf),
    Archive { path: PathBuf, entries: HashMap<String, Place> },
}

/// Where an entry's bytes are.
pub(super) enum Place {
    Bytes { offset: u64, length: u64 },
    Link(String),
}

impl Source {
    /// Opens the archive or layout at `path`; a compressed archive is written out into `scratch`.
    pub(super) fn open(path: &Path, scratch: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let path = plain(path, scratch)?;
        let entries = index(&path).map_err(Error::io("read archive", &path))?;
        Ok(Self::Archive { path, entries })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Directory(root) => root.join(name).is_file(),
            Self::Archive { entries, .. } => entries.contains_key(name),
        }
    }

    /// A whole file of at most `limit` bytes.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let (reader, length) = self.open_file(name)?;
        if length > limit {
            return Err(Error::Archive(format!("{name} is larger than {limit} bytes")));
        }
        let mut bytes = Vec::new();
        reader.take(limit).read_to_end(&mut bytes).map_err(Error::io("read", name))?;
        Ok(bytes)
    }

    /// Opens a file; with its length.
    pub(super) fn open_file(&self, name: &str) -> Result<(Take<BufReader<File>>, u64), Error> {
        let name = clean(name).ok_or_else(|| Error::Archive(format!("bad path {name:?}")))?;
        match self {
            Self::Directory(root) => {
                let path = root.join(&name);
                let file = File::open(&path).map_err(Error::io("open", &path))?;
                let length = file.metadata().map_err(Error::io("read", &path))?.len();
                Ok((BufReader::new(file).take(length), length))
            }
            Self::Archive { path, entries } => {
                let (offset, length) = find(entries, &name)
                    .ok_or_else(|| Error::Archive(format!("{name} is missing")))?;
                let mut file = File::open(path).map_err(Error::io("open", path))?;
                file.seek(SeekFrom::Start(offset)).map_err(Error::io("read", path))?;
                Ok((BufReader::new(file).take(length), length))
            }
        }
    }
}

fn find(entries: &HashMap<String, Place>, name: &str) -> Option<(u64, u64)> {
    let mut name = name.to_owned();
    for _ in 0..LINKS_MAX {
        match entries.get(&name)? {
            Place::Bytes { offset, length } => return Some((*offset, *length)),
            Place::Link(to) => name = to.clone(),
        }
    }
    None
}

/// The archive without its compression.
fn plain(path: &Path, scratch: &Path) -> Result<PathBuf, Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut start = [0; 4];
    let count = file.read(&mut start).map_err(Error::io("read", path))?;
    let compressed = matches!(start[..count], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]);
    if !compressed {
        return Ok(path.to_owned());
    }
    file.rewind().map_err(Error::io("read", path))?;
    let mut reader = decompress(file).map_err(Error::io("read", path))?;
    let target = scratch.join("archive.tar");
    let mut out = File::create(&target).map_err(Error::io("create", &target))?;
    let written = io::copy(&mut reader.by_ref().take(LAYER_UNPACKED_BYTES_MAX), &mut out)
        .map_err(Error::io("decompress", path))?;
    if written == LAYER_UNPACKED_BYTES_MAX {
        return Err(Error::Archive(format!("larger than {LAYER_UNPACKED_BYTES_MAX} bytes")));
    }
    Ok(target)
}

fn index(path: &Path) -> io::Result<HashMap<String, Place>> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(path)?));
    let mut entries = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        if entries.len() as u64 >= LAYER_ENTRIES_MAX {
            return Err(io::Error::other("too many entries"));
        }
        let entry_path = entry.path()?.into_owned();
        let Some(name) = entry_path.to_str().and_then(clean) else { continue };
        let place = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                Place::Bytes { offset: entry.raw_file_position(), length: entry.size() }
            }
            EntryType::Symlink | EntryType::Link => {
                let Some(to) = entry.link_name()? else { continue };
                let beside = entry.header().entry_type() == EntryType::Symlink;
                let base = if beside { entry_path.parent() } else { None };
                let to = base.unwrap_or_else(|| Path::new("")).join(to);
                let Some(to) = to.to_str().and_then(clean) else { continue };
                Place::Link(to)
            }
            _ => continue,
        };
        entries.insert(name, place);
    }
    Ok(entries)
}

/// The path below the root of the archive; `None` when it leads outside.
fn clean(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_the_archive() {
        for (text, expected) in
            [("./a/../b", Some("b")), ("/a/b", Some("a/b")), ("a/../../b", None), ("../x", None)]
        {
            assert_eq!(clean(text).as_deref(), expected, "{text}");
        }
    }
}
