//! Rows in a fjall database: a journal for durability, sorted tables for the bulk.
//!
//! `<path>/lock` is held while the store is open; `<path>/data` is the database. It is made in
//! `<path>/data.new` and renamed, so that a `data` without its parts is damage, never an unfinished start.

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Slice};

use super::disk::{Disk, DiskBatch, Room, Truth};
use super::journal_check;
use super::record::{
    CHANGE_PREFIX, FACT_COMPACTED, FACT_FORMAT, FORMAT_VERSION, LEASE_PREFIX, RowKey, encode_fact,
    encode_lease, lease_row,
};
use crate::StoreError;

const KEYSPACE: &str = "state";
/// Writes collect in memory up to this before they become a table.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// The engine's own cache; reads come from our memory, so it only serves its compactions.
const CACHE_BYTES: u64 = 4 << 20;
/// Journals beyond this make the engine write tables so that it can drop them.
const JOURNALS_BYTES_MAX: u64 = 64 << 20;
/// Tables are read whole, in order: large blocks are read faster.
const BLOCK_BYTES: u32 = 32 << 10;
/// One thread flushes, the other compacts.
const WORKER_THREADS: usize = 1;
/// Sealed memtables at which we wait for the engine, below the number at which it waits by itself
/// (and would do so for ever if its workers had died).
const SEALED_MEMTABLES_MAX: usize = 3;
const L0_TABLES_MAX: usize = 24;
const BACKPRESSURE_POLL: Duration = Duration::from_millis(2);
/// Tables may use this much beyond twice what is needed before they are rewritten.
const SLACK_BYTES: u64 = 64 << 20;

/// See the module's documentation.
pub(super) struct FjallDisk {
    path: PathBuf,
    space_reserve_bytes: u64,
    open: Option<Open>,
    shrinking: Option<JoinHandle<()>>,
    // Declared last: dropped after the database.
    _lock: File,
}

/// An open database.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) database: Database,
    pub(super) keyspace: Keyspace,
}

impl Open {
    /// Whether the engine has failed and has to be opened anew.
    fn is_poisoned(&self) -> bool {
        self.database.persist(PersistMode::Buffer).is_err()
    }

    /// Waits until `is_ready`, which the engine's own threads bring about unless it has failed.
    fn wait_until(&self, is_ready: impl Fn(&Keyspace) -> bool) -> Result<(), fjall::Error> {
        while !is_ready(&self.keyspace) {
            if self.is_poisoned() {
                return Err(fjall::Error::Poisoned);
            }
            std::thread::park_timeout(BACKPRESSURE_POLL);
        }
        Ok(())
    }

    /// Writes all tables anew without what has been removed from them.
    fn rewrite_tables(&self) -> Result<(), fjall::Error> {
        self.write_tables()?;
        self.keyspace.major_compact()?;
        // The engine lets go of replaced tables only when it turns its memory into a table, and needs
        // something to put there.
        self.keyspace.insert(FACT_FORMAT, encode_fact(FACT_FORMAT, FORMAT_VERSION.into()))?;
        self.write_tables()
    }

    /// Turns everything in the engine's memory into tables.
    fn write_tables(&self) -> Result<(), fjall::Error> {
        self.keyspace.rotate_memtable()?;
        self.wait_until(|keyspace| keyspace.sealed_memtable_count() == 0)
    }
}

impl FjallDisk {
    /// Locks `path` and opens or creates the database in it.
    pub(super) fn open(path: &Path, space_reserve_bytes: u64) -> Result<Self, StoreError> {
        let lock = Self::lock(path)?;
        if !path.join("data").try_exists().map_err(io("look for the data"))? {
            drop(create(path)?);
            make_current(path)?;
        }
        Self::open_locked(path, lock, space_reserve_bytes)
    }

    /// Opens the database in `path`, which must exist and be locked.
    pub(super) fn open_locked(
        path: &Path,
        lock: File,
        space_reserve_bytes: u64,
    ) -> Result<Self, StoreError> {
        let data = path.join("data");
        let open = open_database(&data)?;
        let path = path.to_owned();
        Ok(Self { path, space_reserve_bytes, open: Some(open), shrinking: None, _lock: lock })
    }

    /// Takes the directory for this process.
    pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
        std::fs::create_dir_all(path).map_err(io("create the directory"))?;
        let file = File::options().create(true).truncate(false).write(true).open(path.join("lock"));
        let file = file.map_err(io("open the lock file"))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(StoreError::Locked { path: path.display().to_string() })
            }
            Err(std::fs::TryLockError::Error(source)) => Err(io("lock the directory")(source)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Turns everything in memory into tables.
    #[cfg(test)]
    pub(super) fn flush_tables(&self) {
        let open = self.open.as_ref().expect("the database is open");
        open.write_tables().expect("tables can be written");
    }

    /// Takes the database out of service.
    pub(super) fn take_open(&mut self) -> Option<Open> {
        self.finish_shrinking();
        self.open.take()
    }

    /// Calls `each` with every row in order.
    pub(super) fn scan(
        &self,
        mut each: impl FnMut(Slice, Slice) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Some(open) = &self.open else { return Err(StoreError::Closed) };
        let mut last = Vec::new();
        for guard in open.keyspace.iter() {
            let (row, record) = guard.into_inner().map_err(|source| StoreError::Corrupt {
                what: format!("the tables cannot be read after row {}: {source}", Hex(&last)),
            })?;
            last.clear();
            last.extend_from_slice(&row);
            each(row, record)?;
        }
        Ok(())
    }

    fn finish_shrinking(&mut self) {
        if let Some(thread) = self.shrinking.take()
            && thread.join().is_err()
        {
            tracing::error!("giving space back panicked");
        }
    }

    /// Removes rows newer than `truth` and makes leases and facts equal to it.
    fn reconcile(open: &Open, truth: &Truth) -> Result<(), StoreError> {
        let mut batch = open.database.batch().durability(Some(PersistMode::SyncAll));
        let unacknowledged = RowKey { revision: truth.revision + 1, sub: 0 }.encode();
        let rows = open.keyspace.range(unacknowledged.to_vec()..vec![CHANGE_PREFIX + 1]);
        let leases = open.keyspace.prefix([LEASE_PREFIX]);
        for guard in rows.chain(leases) {
            batch.remove(&open.keyspace, guard.key().map_err(failed("read back"))?);
        }
        for (id, ttl_seconds) in &truth.leases {
            batch.insert(&open.keyspace, lease_row(*id), encode_lease(*id, *ttl_seconds));
        }
        let compacted = encode_fact(FACT_COMPACTED, truth.compacted);
        batch.insert(&open.keyspace, FACT_COMPACTED, compacted);
        batch.commit().map_err(failed("write back"))
    }
}

impl Disk for FjallDisk {
    fn write(&mut self, batch: DiskBatch, sync: bool) -> Result<(), StoreError> {
        let Some(open) = &self.open else { return Err(StoreError::Closed) };
        let keeps_up = |keyspace: &Keyspace| {
            keyspace.sealed_memtable_count() < SEALED_MEMTABLES_MAX
                && keyspace.l0_table_count() < L0_TABLES_MAX
        };
        open.wait_until(keeps_up).map_err(failed("write tables"))?;
        let mode = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut writes = open.database.batch().durability(Some(mode));
        for (row, record) in batch.puts {
            writes.insert(&open.keyspace, row, record);
        }
        for row in batch.removes {
            writes.remove(&open.keyspace, row);
        }
        writes.commit().map_err(failed("write a group of transactions"))
    }

    fn restore(&mut self, truth: &Truth) -> Result<(), StoreError> {
        self.finish_shrinking();
        self.open = None;
        let open = open_database(&self.path.join("data"))?;
        Self::reconcile(&open, truth)?;
        self.open = Some(open);
        Ok(())
    }

    fn has_failed(&self) -> bool {
        self.open.as_ref().is_none_or(Open::is_poisoned)
    }

    fn room(&self) -> Room {
        let free = match rustix::fs::statvfs(&self.path) {
            Ok(space) => {
                let total = space.f_blocks.saturating_mul(space.f_frsize);
                let reserve = self.space_reserve_bytes.min(total / 16);
                (space.f_bavail.saturating_mul(space.f_frsize), reserve)
            }
            // A file system that cannot be asked is no reason to refuse; the write itself will tell.
            Err(_) => return Room::Plenty,
        };
        match free {
            (free, reserve) if free >= reserve => Room::Plenty,
            (free, reserve) if free >= reserve / 2 => Room::DeletionsOnly,
            _ => Room::Full,
        }
    }

    fn shrink(&mut self, record_bytes: u64) {
        if self.shrinking.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        self.finish_shrinking();
        let Some(open) = &self.open else { return };
        if open.keyspace.disk_space() <= record_bytes.saturating_mul(2) + SLACK_BYTES {
            return;
        }
        let open = open.clone();
        let work = move || {
            if let Err(error) = open.rewrite_tables() {
                tracing::warn!(%error, "giving space back failed");
            }
        };
        match std::thread::Builder::new().name("store-shrink".to_owned()).spawn(work) {
            Ok(thread) => self.shrinking = Some(thread),
            Err(error) => tracing::warn!(%error, "no thread to give space back"),
        }
    }
}

impl Drop for FjallDisk {
    fn drop(&mut self) {
        self.finish_shrinking();
    }
}

/// Makes an empty database that is not in place yet.
pub(super) fn create(path: &Path) -> Result<Open, StoreError> {
    let unfinished = path.join("data.new");
    if unfinished.try_exists().map_err(io("look for unfinished data"))? {
        std::fs::remove_dir_all(&unfinished).map_err(io("remove unfinished data"))?;
    }
    let database = builder(&unfinished).open().map_err(failed("create the database"))?;
    let keyspace =
        database.keyspace(KEYSPACE, keyspace_options).map_err(failed("create the keyspace"))?;
    let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
    batch.insert(&keyspace, FACT_FORMAT, encode_fact(FACT_FORMAT, FORMAT_VERSION.into()));
    batch.commit().map_err(failed("write the format version"))?;
    Ok(Open { database, keyspace })
}

/// Puts a created, closed database in its place.
pub(super) fn make_current(path: &Path) -> Result<(), StoreError> {
    std::fs::rename(path.join("data.new"), path.join("data")).map_err(io("rename the new data"))?;
    let directory = File::open(path).map_err(io("open the directory"))?;
    directory.sync_all().map_err(io("flush the directory"))
}

fn builder(data: &Path) -> fjall::DatabaseBuilder<Database> {
    Database::builder(data)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(JOURNALS_BYTES_MAX)
        .worker_threads(WORKER_THREADS)
}

fn keyspace_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        .data_block_size_policy(fjall::config::BlockSizePolicy::all(BLOCK_BYTES))
        .filter_policy(fjall::config::FilterPolicy::disabled())
}

/// Opens a database that must exist, verifying what the engine would pass over in silence.
fn open_database(data: &Path) -> Result<Open, StoreError> {
    for part in ["version", "keyspaces/0/current", "keyspaces/1/current"] {
        if !data.join(part).try_exists().map_err(io("look at the data"))? {
            return Err(corrupt(format!("{} is missing", data.join(part).display())));
        }
    }
    journal_check::check(data)?;
    // The engine asserts some of what it reads; damage must not take the process down.
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| builder(data).open()));
    let database = match opened {
        Ok(opened) => opened.map_err(failed("open the database"))?,
        Err(_) => return Err(corrupt(format!("the engine cannot read {}", data.display()))),
    };
    if !database.keyspace_exists(KEYSPACE) {
        return Err(corrupt(format!("{} has lost its keyspace", data.display())));
    }
    let keyspace =
        database.keyspace(KEYSPACE, keyspace_options).map_err(failed("open the keyspace"))?;
    Ok(Open { database, keyspace })
}

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what }
}

pub(super) fn io(attempted: &'static str) -> impl FnOnce(std::io::Error) -> StoreError {
    move |source| failed(attempted)(fjall::Error::Io(source))
}

/// Tells a full disk and damage from other failures.
pub(super) fn failed(attempted: &'static str) -> impl FnOnce(fjall::Error) -> StoreError {
    use fjall::{Error, LsmError};
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    move |source| match &source {
        Error::Io(error) | Error::Storage(LsmError::Io(error))
            if matches!(error.kind(), StorageFull | QuotaExceeded) =>
        {
            StoreError::NoSpace
        }
        Error::Io(_) | Error::Storage(LsmError::Io(_)) | Error::Poisoned | Error::Locked => {
            StoreError::engine(attempted, source)
        }
        _ => corrupt(format!("cannot {attempted}: {source}")),
    }
}

/// Bytes as hexadecimal digits.
struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}
