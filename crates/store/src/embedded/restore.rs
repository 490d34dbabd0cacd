//! Putting a snapshot back into an empty directory.
//!
//! Keys keep their revisions, versions and leases. The store goes on [`SKIPPED_REVISIONS`] later, with its
//! history closed: what happened after the snapshot had revisions that clients may have seen, and a
//! revision must never mean two things.

use std::collections::HashMap;
use std::path::Path;

use fjall::PersistMode;

use super::fjall_disk::{FjallDisk, Open, create, failed, io, make_current};
use super::record::{
    ChangeRef, FACT_COMPACTED, RowKey, encode_change, encode_fact, encode_lease, lease_row,
};
use super::recover::SKIPPED_REVISIONS;
use crate::snapshot::{self, Entry, SnapshotError, SnapshotSummary};

/// Rows that are written in one batch.
const BATCH_ROWS: usize = 1024;

/// Makes a store in `path`, which must hold none, from the snapshot in `file`. Blocks. The snapshot is
/// checked as a whole before anything is written.
///
/// # Errors
/// The snapshot is not one, `path` holds a store already or is in use, or the disk refused.
pub fn restore(path: &Path, file: &Path) -> Result<SnapshotSummary, SnapshotError> {
    let summary = snapshot::verify(file)?;
    let is_there = |name: &str| path.join(name).try_exists().map_err(io("look for a store"));
    if is_there("data")? || is_there("damaged")? {
        return Err(SnapshotError::NotEmpty { target: path.display().to_string() });
    }
    let _lock = FjallDisk::lock(path)?;
    let mut writer = Writer::new(create(path)?, summary.created.as_millisecond());
    let again = snapshot::read(file, |entry| writer.add(entry))?;
    if again != summary {
        return Err(SnapshotError::Damaged("it changed while it was read"));
    }
    writer.finish(summary.revision.0 + SKIPPED_REVISIONS)?;
    make_current(path)?;
    Ok(summary)
}

struct Writer {
    open: Open,
    batch: fjall::OwnedWriteBatch,
    time_ms: i64,
    /// How many keys each revision has written, where it is more than one.
    subs: HashMap<u64, u32>,
}

impl Writer {
    fn new(open: Open, time_ms: i64) -> Self {
        let batch = open.database.batch();
        Self { open, batch, time_ms, subs: HashMap::new() }
    }

    fn add(&mut self, entry: Entry) -> Result<(), SnapshotError> {
        match entry {
            Entry::Item(item) => {
                let sub = self.subs.entry(item.mod_revision.0).or_default();
                let row = RowKey { revision: item.mod_revision.0, sub: *sub };
                *sub += 1;
                let change = ChangeRef {
                    time_ms: self.time_ms,
                    key: &item.key,
                    value: Some(&item.value),
                    create_revision: item.create_revision.0,
                    version: item.version,
                    lease: item.lease.map_or(0, |lease| lease.0),
                };
                let record = encode_change(row, &change);
                self.batch.insert(&self.open.keyspace, row.encode().to_vec(), record);
            }
            Entry::Lease { id, ttl_seconds } => {
                let record = encode_lease(id, ttl_seconds);
                self.batch.insert(&self.open.keyspace, lease_row(id), record);
            }
        }
        if self.batch.len() >= BATCH_ROWS {
            let full = std::mem::replace(&mut self.batch, self.open.database.batch());
            full.commit().map_err(failed("write the records of a snapshot"))?;
        }
        Ok(())
    }

    fn finish(mut self, revision: u64) -> Result<(), SnapshotError> {
        let fact = encode_fact(FACT_COMPACTED, revision);
        self.batch.insert(&self.open.keyspace, FACT_COMPACTED, fact);
        let last = self.batch.durability(Some(PersistMode::SyncAll));
        last.commit().map_err(failed("write the records of a snapshot"))?;
        Ok(())
    }
}
