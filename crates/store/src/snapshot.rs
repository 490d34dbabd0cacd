//! Snapshots: the newest state of a store as one file that can be checked before it is trusted.
//!
//! A snapshot is logical: keys with their revisions, and leases; no history. It is taken from any [`Store`]
//! at one revision while the store goes on, and its end carries a SHA-256 of everything before it. Putting
//! one back: [`crate::embedded::restore`] into an empty directory, [`restore_into`] into any empty store.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::limits::{SNAPSHOT_PAGE_KEYS, SNAPSHOT_TRANSACTION_BYTES, SNAPSHOT_TRANSACTION_KEYS};
use crate::{
    KeyRange, KeyValue, LeaseId, Operation, RangeRequest, Revision, Store, StoreError, Transaction,
};

mod format;

use format::Encoder;
pub(crate) use format::{Entry, read_entries};

/// The time to live of a lease that ended while it was being saved.
const ENDED_LEASE_SECONDS: u64 = 1;

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The revision at which it was taken.
    pub revision: Revision,
    /// When it was begun.
    pub created: Timestamp,
    /// Number of keys.
    pub keys: u64,
    /// Number of leases that keys hang on.
    pub leases: u64,
    /// Length of the file, in bytes.
    pub bytes: u64,
    /// SHA-256 of the contents.
    pub sha256: [u8; 32],
}

/// Why a snapshot could not be saved, read or put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A file or connection failed.
    #[error("cannot {attempted}")]
    Io {
        /// What was being done.
        attempted: String,
        /// The system's own words.
        #[source]
        source: std::io::Error,
    },
    /// The file does not begin as a snapshot does.
    #[error("it is not a snapshot of a store")]
    Foreign,
    /// The file was written by a newer program.
    #[error("its format version {0} is unknown")]
    Version(u8),
    /// The file ends too early.
    #[error("it ends in the middle, after {0} bytes")]
    CutShort(u64),
    /// The contents are not those that were written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// Whoever wrote it had to give up.
    #[error("saving it failed: {0}")]
    GivenUp(String),
    /// Snapshots are only put back where there is nothing.
    #[error("{target} is not empty")]
    NotEmpty {
        /// The directory or the prefix of keys.
        target: String,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

pub(crate) fn io(attempted: impl Into<String>) -> impl FnOnce(std::io::Error) -> SnapshotError {
    let attempted = attempted.into();
    move |source| SnapshotError::Io { attempted, source }
}

/// Writes all keys of `store`, as of one revision, to `out`. When the store fails in between, `out` says
/// so, and no reader takes it for a snapshot.
///
/// # Errors
/// The store or `out` failed.
pub async fn save(
    store: &dyn Store,
    created: Timestamp,
    out: &mut (impl AsyncWrite + Unpin),
) -> Result<SnapshotSummary, SnapshotError> {
    match save_all(store, created, out).await {
        Err(SnapshotError::Store(error)) => {
            out.write_all(&Encoder::give_up(&error.to_string())).await.map_err(io("write"))?;
            Err(error.into())
        }
        ended => ended,
    }
}

async fn save_all(
    store: &dyn Store,
    created: Timestamp,
    out: &mut (impl AsyncWrite + Unpin),
) -> Result<SnapshotSummary, SnapshotError> {
    let mut leases = BTreeSet::new();
    let mut range = KeyRange::all();
    // The first page is the newest state, and says which revision that is.
    let newest = Revision(0);
    let request =
        RangeRequest { range: range.clone(), revision: newest, limit: SNAPSHOT_PAGE_KEYS };
    let mut page = store.range(request).await?;
    let revision = page.revision;
    let mut encoder = Encoder::begin(revision, created);
    loop {
        for item in &page.items {
            leases.extend(item.lease.map(|lease| lease.0));
            encoder.item(item);
        }
        out.write_all(&encoder.take()).await.map_err(io("write"))?;
        match page.items.last() {
            Some(last) if page.remaining > 0 => {
                range.start = [&last.key[..], &[0]].concat().into();
            }
            _ => break,
        }
        let request = RangeRequest { range: range.clone(), revision, limit: SNAPSHOT_PAGE_KEYS };
        page = store.range(request).await?;
    }
    for id in leases {
        let ttl_seconds = match store.lease_ttl(LeaseId(id)).await {
            Ok(ttl_seconds) => ttl_seconds,
            Err(StoreError::LeaseNotFound(_)) => ENDED_LEASE_SECONDS,
            Err(error) => return Err(error.into()),
        };
        encoder.lease(id, ttl_seconds);
    }
    let summary = encoder.finish();
    out.write_all(&encoder.take()).await.map_err(io("write"))?;
    out.flush().await.map_err(io("write"))?;
    Ok(summary)
}

/// Reads a whole snapshot and checks everything in it. Blocks.
///
/// # Errors
/// The file cannot be read, or is not a whole, undamaged snapshot.
pub fn verify(path: &Path) -> Result<SnapshotSummary, SnapshotError> {
    read(path, |_| Ok(()))
}

/// Calls `each` with every entry; what has been seen may be believed only when this ends well.
pub(crate) fn read(
    path: &Path,
    each: impl FnMut(Entry) -> Result<(), SnapshotError>,
) -> Result<SnapshotSummary, SnapshotError> {
    let file = File::open(path).map_err(io(format!("open {}", path.display())))?;
    read_entries(BufReader::with_capacity(1 << 20, file), each)
}

/// Puts the keys of a snapshot into `store`, which must hold none. Revisions are new ones: clients have to
/// list again. Whole only when this ends well; after an error the store has to be emptied.
///
/// # Errors
/// The snapshot is not one, the store is not empty, or it failed.
pub async fn restore_into(
    store: &dyn Store,
    path: &Path,
) -> Result<SnapshotSummary, SnapshotError> {
    let request = RangeRequest { range: KeyRange::all(), revision: Revision(0), limit: 1 };
    if !store.range(request).await?.items.is_empty() {
        return Err(SnapshotError::NotEmpty { target: "the store".to_owned() });
    }
    let (sender, mut batches) = tokio::sync::mpsc::channel::<Vec<KeyValue>>(BATCHES_WAITING_MAX);
    let mut leases = std::collections::HashMap::new();
    let owned = path.to_owned();
    // Twice through the file: what is damaged must not be put back by half.
    let found = tokio::task::spawn_blocking(move || verified_leases(&owned));
    let (summary, ttls) = found.await.map_err(|source| StoreError::engine("read", source))??;
    for (id, ttl_seconds) in ttls {
        leases.insert(id, store.grant_lease(ttl_seconds).await?);
    }
    let owned = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || send_batches(&owned, &sender));
    while let Some(batch) = batches.recv().await {
        let put = |item: KeyValue| Operation::Put {
            key: item.key,
            value: item.value,
            lease: item.lease.and_then(|lease| leases.get(&lease.0).copied()),
        };
        let operations = batch.into_iter().map(put).collect();
        store.transact(Transaction { compares: Vec::new(), operations }).await?;
    }
    reading.await.map_err(|source| StoreError::engine("read", source))??;
    Ok(summary)
}

/// Batches that the reading thread may be ahead.
const BATCHES_WAITING_MAX: usize = 4;

type Ttls = Vec<(i64, u64)>;

fn verified_leases(path: &Path) -> Result<(SnapshotSummary, Ttls), SnapshotError> {
    let mut leases = Vec::new();
    let summary = read(path, |entry| {
        if let Entry::Lease { id, ttl_seconds } = entry {
            leases.push((id, ttl_seconds));
        }
        Ok(())
    })?;
    Ok((summary, leases))
}

fn send_batches(
    path: &Path,
    sender: &tokio::sync::mpsc::Sender<Vec<KeyValue>>,
) -> Result<(), SnapshotError> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    read(path, |entry| {
        let Entry::Item(item) = entry else { return Ok(()) };
        let size = item.key.len() + item.value.len();
        if !batch.is_empty()
            && (batch.len() >= SNAPSHOT_TRANSACTION_KEYS
                || bytes + size > SNAPSHOT_TRANSACTION_BYTES)
        {
            bytes = 0;
            // The receiver goes away only when the store has failed, which is told there.
            let _gone = sender.blocking_send(std::mem::take(&mut batch));
        }
        bytes += size;
        batch.push(item);
        Ok(())
    })?;
    if !batch.is_empty() {
        let _gone = sender.blocking_send(batch);
    }
    Ok(())
}

/// A SHA-256 as people compare it.
pub fn hex(digest: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::new(), |mut text, byte| {
        let _never_fails = write!(text, "{byte:02x}");
        text
    })
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
