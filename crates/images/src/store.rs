//! The store: records, unpacked layers, and what may be collected.
//!
//! ```text
//! records/<id>.json      one image each
//! layers/<chain>/fs      an unpacked layer, for overlayfs; beside it info.json with its size
//! holds/<owner>          layers in use by a container or by an image on its way in
//! ingest/<n>/            an image on its way in; removed when its process is gone
//! lock                   taken by whoever changes the store
//! ```
//! Several processes may use one store: everything is read from disk, changes happen under `lock`, and a
//! file or layer appears whole by a rename. All calls block. Not here: how an image gets in
//! ([`crate::pull`], [`crate::archive`], [`crate::build`]).

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::{Digest, Error, ImageRecord, Reference};

mod ingest;

pub(crate) use ingest::Ingest;

/// A store of images; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    cache: Mutex<Option<Cache>>,
}

/// The records as of one state of the directory that holds them.
#[derive(Debug)]
struct Cache {
    changed: (i64, i64),
    records: Arc<Vec<ImageRecord>>,
}

/// What the store takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Bytes of all unpacked layers.
    pub bytes: u64,
    /// Files and directories of all unpacked layers.
    pub inodes: u64,
}

/// The size of an unpacked layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerInfo {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

impl Store {
    /// Opens the store at `root`, making it when it is not there, and removes what interrupted pulls and
    /// imports left behind.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        for name in ["records", "layers", "holds", "ingest"] {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(Error::io("create", path))?;
        }
        // Layers hold setuid programs, which are not for the users of the host.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700))
            .map_err(Error::io("close", &root))?;
        let store = Self { inner: Arc::new(Inner { root, cache: Mutex::new(None) }) };
        ingest::remove_stale(&store)?;
        Ok(store)
    }

    /// Directory of the store.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// All images.
    pub fn list(&self) -> Result<Arc<Vec<ImageRecord>>, Error> {
        let directory = self.inner.root.join("records");
        let metadata = fs::metadata(&directory).map_err(Error::io("read", &directory))?;
        let changed = (metadata.mtime(), metadata.mtime_nsec());
        let mut cache = self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cache) = cache.as_ref().filter(|cache| cache.changed == changed) {
            return Ok(Arc::clone(&cache.records));
        }
        let records = Arc::new(read_records(&directory)?);
        *cache = Some(Cache { changed, records: Arc::clone(&records) });
        Ok(records)
    }

    /// The image that `name` means: an id, an unambiguous beginning of one, or a name.
    pub fn resolve(&self, name: &str) -> Result<Option<ImageRecord>, Error> {
        let records = self.list()?;
        if let Some(record) = find_by_id(&records, name) {
            return Ok(Some(record.clone()));
        }
        let reference: Reference = match name.parse() {
            Ok(reference) => reference,
            Err(_) if name.starts_with("sha256:") => return Ok(None),
            Err(crate::InvalidName::Identifier(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let key = match reference.digest() {
            Some(digest) => reference.with_digest(digest),
            None => reference.to_string(),
        };
        let found = records
            .iter()
            .find(|record| record.tags.contains(&key) || record.digests.contains(&key));
        Ok(found.cloned())
    }

    /// The directories of an image's layers, the topmost first, as overlayfs takes them.
    pub fn layer_directories(&self, record: &ImageRecord) -> Vec<PathBuf> {
        record.chain.iter().rev().map(|chain| self.layer_directory(chain)).collect()
    }

    pub(crate) fn layer_directory(&self, chain: &Digest) -> PathBuf {
        self.inner.root.join("layers").join(chain.hex()).join("fs")
    }

    pub(crate) fn has_layer(&self, chain: &Digest) -> bool {
        self.layer_directory(chain).is_dir()
    }

    /// Keeps the layers of `record` as long as `owner` (a container's id) holds them.
    pub fn hold(&self, owner: &str, record: &ImageRecord) -> Result<(), Error> {
        let _lock = self.lock()?;
        if let Some(chain) = record.chain.iter().find(|chain| !self.has_layer(chain)) {
            return Err(Error::NotFound(format!("layer {chain} of {}", record.id)));
        }
        self.write_hold(owner, &record.chain)
    }

    /// Ends a hold; nothing to end is a success.
    pub fn release(&self, owner: &str) -> Result<(), Error> {
        let path = self.hold_path(owner);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Everybody who holds layers.
    pub fn holders(&self) -> Result<Vec<String>, Error> {
        let directory = self.inner.root.join("holds");
        let names = names_in(&directory)?;
        Ok(names.into_iter().filter(|name| !name.starts_with('.')).collect())
    }

    /// Removes a name, or the whole image when named by id; layers that nobody needs any more go too.
    /// Answers whether there was anything to remove.
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        let _lock = self.lock()?;
        let Some(mut record) = self.resolve(name)? else { return Ok(false) };
        let by_id = find_by_id(std::slice::from_ref(&record), name).is_some();
        if !by_id && let Ok(reference) = name.parse::<Reference>() {
            match reference.digest() {
                Some(digest) => record.forget(&reference.with_digest(digest)),
                None => record.forget(&reference.to_string()),
            };
        }
        if by_id || record.tags.is_empty() {
            let path = self.record_path(&record.id);
            fs::remove_file(&path).map_err(Error::io("remove", path))?;
        } else {
            self.write_record(&record)?;
        }
        self.invalidate();
        self.collect()?;
        Ok(true)
    }

    /// Removes layers that no image and no holder needs; answers how many.
    pub fn collect_garbage(&self) -> Result<usize, Error> {
        let _lock = self.lock()?;
        self.collect()
    }

    /// What all layers take.
    pub fn usage(&self) -> Result<StoreUsage, Error> {
        let layers = self.inner.root.join("layers");
        let mut usage = StoreUsage::default();
        for name in names_in(&layers)? {
            let info = fs::read(layers.join(name).join("info.json")).unwrap_or_default();
            let info: LayerInfo = serde_json::from_slice(&info).unwrap_or_default();
            usage.bytes += info.bytes;
            usage.inodes += info.inodes;
        }
        Ok(usage)
    }

    /// Puts `record` into the store, taking its names away from other images.
    pub(crate) fn commit(&self, mut record: ImageRecord) -> Result<ImageRecord, Error> {
        for other in self.list()?.iter() {
            if other.id == record.id {
                record.merge(other);
                record.stored_at = other.stored_at;
                continue;
            }
            let mut other = other.clone();
            let mut lost = false;
            for name in record.tags.iter().chain(&record.digests) {
                lost |= other.forget(name);
            }
            if lost {
                self.write_record(&other)?;
            }
        }
        self.write_record(&record)?;
        self.invalidate();
        Ok(record)
    }

    fn collect(&self) -> Result<usize, Error> {
        let mut needed: HashSet<String> = HashSet::new();
        for record in self.list()?.iter() {
            needed.extend(record.chain.iter().map(|chain| chain.hex().to_owned()));
        }
        for holder in self.holders()? {
            let chains = fs::read(self.hold_path(&holder)).unwrap_or_default();
            let chains: Vec<Digest> = serde_json::from_slice(&chains).unwrap_or_default();
            needed.extend(chains.iter().map(|chain| chain.hex().to_owned()));
        }
        let layers = self.inner.root.join("layers");
        let mut removed = 0;
        for name in names_in(&layers)?.into_iter().filter(|name| !needed.contains(name)) {
            let path = layers.join(name);
            fs::remove_dir_all(&path).map_err(Error::io("remove", path))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Waits for the right to change the store; given back when the file is closed.
    pub(crate) fn lock(&self) -> Result<File, Error> {
        let path = self.inner.root.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(Error::io("open", &path))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| Error::io("lock", path)(error.into()))?;
        Ok(file)
    }

    pub(crate) fn write_hold(&self, owner: &str, chain: &[Digest]) -> Result<(), Error> {
        let bytes = serde_json::to_vec(chain).map_err(Error::json("hold"))?;
        write_atomically(&self.hold_path(owner), &bytes, Durability::Process)
    }

    fn hold_path(&self, owner: &str) -> PathBuf {
        self.inner.root.join("holds").join(owner)
    }

    fn record_path(&self, id: &Digest) -> PathBuf {
        self.inner.root.join("records").join(format!("{}.json", id.hex()))
    }

    fn write_record(&self, record: &ImageRecord) -> Result<(), Error> {
        let bytes = serde_json::to_vec(record).map_err(Error::json("image record"))?;
        write_atomically(&self.record_path(&record.id), &bytes, Durability::Disk)
    }

    fn invalidate(&self) {
        *self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What a file must survive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The end of the process.
    Process,
    /// A power cut.
    Disk,
}

/// Writes a file that is seen whole or not at all.
pub(crate) fn write_atomically(
    path: &Path,
    bytes: &[u8],
    durability: Durability,
) -> Result<(), Error> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        io::Write::write_all(&mut file, bytes)?;
        if durability == Durability::Disk {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        if durability == Durability::Disk
            && let Some(parent) = path.parent()
        {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(Error::io("write", path))
}

fn find_by_id<'a>(records: &'a [ImageRecord], name: &str) -> Option<&'a ImageRecord> {
    /// Shorter beginnings of an id are taken for names.
    const ID_PREFIX_MIN: usize = 12;
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    let hexadecimal = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !hexadecimal || digits.len() < ID_PREFIX_MIN {
        return None;
    }
    let mut found = records.iter().filter(|record| record.id.hex().starts_with(digits));
    let first = found.next();
    if found.next().is_some() { None } else { first }
}

fn read_records(directory: &Path) -> Result<Vec<ImageRecord>, Error> {
    let mut records = Vec::new();
    for name in names_in(directory)? {
        if name.starts_with('.') || !name.ends_with(".json") {
            continue;
        }
        let path = directory.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        match serde_json::from_slice(&bytes) {
            Ok(record) => records.push(record),
            Err(error) => tracing::warn!(path = %path.display(), %error, "unreadable image record"),
        }
    }
    records.sort_by(|a: &ImageRecord, b| a.id.cmp(&b.id));
    Ok(records)
}

fn names_in(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(directory).map_err(Error::io("read", directory))?;
    let names =
        entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<_>>().map_err(Error::io("read", directory))
}
