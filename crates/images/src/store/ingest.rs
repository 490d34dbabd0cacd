//! An image on its way into the store. Until [`Ingest::commit`] nothing of it can be seen, and whatever
//! way it ends before that, its directory is removed: at once, or by the next process that opens the store.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;

use super::{LayerInfo, Store, names_in};
use crate::{Digest, Error, ImageRecord};

/// An image on its way in.
#[derive(Debug)]
pub(crate) struct Ingest {
    store: Store,
    name: String,
    directory: PathBuf,
    _alive: File,
}

impl Ingest {
    /// Begins, holding those of the layers of `chain` that are in the store already.
    pub(crate) fn begin(store: &Store, chain: &[Digest]) -> Result<Self, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let _lock = store.lock()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ingest-{}-{number}", std::process::id());
        let directory = store.root().join("ingest").join(&name);
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        let alive = File::create(directory.join("alive"));
        let alive = alive.map_err(Error::io("create", &directory))?;
        rustix::fs::flock(&alive, FlockOperation::LockExclusive)
            .map_err(|error| Error::io("lock", &directory)(error.into()))?;
        store.write_hold(&name, chain)?;
        Ok(Self { store: store.clone(), name, directory, _alive: alive })
    }

    /// Where files of this ingest can be put.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the layer with this chain id is, or is to be unpacked.
    pub(crate) fn layer_directory(&self, chain: &Digest) -> PathBuf {
        if self.store.has_layer(chain) {
            self.store.layer_directory(chain)
        } else {
            self.layer(chain).join("fs")
        }
    }

    /// Whether the layer is in the store or unpacked in this ingest.
    pub(crate) fn has_layer(&self, chain: &Digest) -> bool {
        self.store.has_layer(chain) || self.layer(chain).join("info.json").exists()
    }

    /// Notes that the layer is unpacked.
    pub(crate) fn layer_done(&self, chain: &Digest, info: LayerInfo) -> Result<(), Error> {
        let path = self.layer(chain).join("info.json");
        let bytes = serde_json::to_vec(&info).map_err(Error::json("layer info"))?;
        fs::write(&path, bytes).map_err(Error::io("write", path))
    }

    fn layer(&self, chain: &Digest) -> PathBuf {
        self.directory.join("layers").join(chain.hex())
    }

    /// Makes the layers durable, moves them into the store and writes the record.
    pub(crate) fn commit(self, record: ImageRecord) -> Result<ImageRecord, Error> {
        let any_new = record.chain.iter().any(|chain| !self.store.has_layer(chain));
        if any_new {
            let directory = File::open(&self.directory);
            let directory = directory.map_err(Error::io("open", &self.directory))?;
            rustix::fs::syncfs(directory)
                .map_err(|error| Error::io("sync", &self.directory)(error.into()))?;
        }
        let _lock = self.store.lock()?;
        for chain in &record.chain {
            if self.store.has_layer(chain) {
                continue;
            }
            let target = self.store.root().join("layers").join(chain.hex());
            fs::rename(self.layer(chain), &target).map_err(Error::io("publish", target))?;
        }
        self.store.commit(record)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(path = %self.directory.display(), %error, "cannot remove");
        }
        if let Err(error) = self.store.release(&self.name) {
            tracing::warn!(%error, "cannot release layers");
        }
    }
}

/// Removes the directories and holds of processes that are gone.
pub(super) fn remove_stale(store: &Store) -> Result<(), Error> {
    let _lock = store.lock()?;
    let root = store.root().join("ingest");
    for name in names_in(&root)? {
        let directory = root.join(&name);
        if is_alive(&directory) {
            continue;
        }
        fs::remove_dir_all(&directory).map_err(Error::io("remove", directory))?;
    }
    for holder in store.holders()? {
        if holder.starts_with("ingest-") && !root.join(&holder).exists() {
            store.release(&holder)?;
        }
    }
    Ok(())
}

/// Whoever fills the directory keeps its file locked.
fn is_alive(directory: &Path) -> bool {
    File::open(directory.join("alive"))
        .is_ok_and(|file| rustix::fs::flock(file, FlockOperation::NonBlockingLockShared).is_err())
}
