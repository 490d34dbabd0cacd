//! Putting a snapshot back into an empty directory.
//!
//! Keys keep their revisions, versions and leases. The store goes on [`SKIPPED_REVISIONS`] later, with its
//! history closed: what happened after the snapshot had revisions that clients may have seen, and a
//! revision must never mean two things.
//!
//! The data comes between two small groups: a journal that ends with a damaged group looks like one that a
//! crash cut short, and what was restored must never look like that.

use std::collections::HashMap;
use std::path::Path;

use fjall::PersistMode;

use super::fjall_disk::{FjallDisk, Open, create, failed, io, make_current};
use super::record::{
    ChangeRef, FACT_COMPACTED, FACT_FORMAT, FORMAT_VERSION, RowKey, encode_fact, encode_lease,
    encode_put, lease_row,
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
    writer.fact(FACT_COMPACTED, summary.revision.0 + SKIPPED_REVISIONS)?;
    let again = snapshot::read(file, |entry| writer.add(entry))?;
    if again != summary {
        return Err(SnapshotError::Damaged("it changed while it was read"));
    }
    writer.commit()?;
    writer.fact(FACT_FORMAT, FORMAT_VERSION.into())?;
    drop(writer);
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
                    value: &item.value,
                    create_revision: item.create_revision.0,
                    version: item.version,
                    lease: item.lease.map_or(0, |lease| lease.0),
                };
                let put = encode_put(row, &change);
                self.batch.insert(&self.open.keyspace, row.encode().to_vec(), put.record);
            }
            Entry::Lease { id, ttl_seconds } => {
                let record = encode_lease(id, ttl_seconds);
                self.batch.insert(&self.open.keyspace, lease_row(id), record);
            }
        }
        if self.batch.len() >= BATCH_ROWS { self.commit() } else { Ok(()) }
    }

    /// Writes what has been added, as one group.
    fn commit(&mut self) -> Result<(), SnapshotError> {
        let full = std::mem::replace(&mut self.batch, self.open.database.batch());
        let full = full.durability(Some(PersistMode::SyncAll));
        full.commit().map_err(failed("write the records of a snapshot"))?;
        Ok(())
    }

    /// Writes a fact, as a group of its own.
    fn fact(&mut self, row: &[u8], fact: u64) -> Result<(), SnapshotError> {
        self.batch.insert(&self.open.keyspace, row, encode_fact(row, fact));
        self.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal_check::{Verdict, batch_ends, examine, journals};
    use super::*;
    use crate::{KeyRange, KeyValue, RangeRequest, Revision, Store};

    #[tokio::test]
    async fn damage_to_what_was_restored_is_never_taken_for_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let mut writer = Writer::new(
            {
                std::fs::create_dir_all(&path).unwrap();
                create(&path).unwrap()
            },
            0,
        );
        writer.fact(FACT_COMPACTED, 9 + SKIPPED_REVISIONS).unwrap();
        // Two keys of one transaction.
        for key in ["a", "b"] {
            let item = KeyValue {
                key: key.into(),
                value: "value".into(),
                create_revision: Revision(3),
                mod_revision: Revision(5),
                version: 2,
                lease: None,
            };
            writer.add(Entry::Item(item)).unwrap();
        }
        writer.commit().unwrap();
        writer.fact(FACT_FORMAT, FORMAT_VERSION.into()).unwrap();
        drop(writer);
        make_current(&path).unwrap();
        let journal = journals(&path.join("data")).unwrap().remove(0);
        let good = std::fs::read(&journal).unwrap();
        let ends = batch_ends(&good);
        for at in 0..ends[ends.len() - 2] {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(matches!(examine(&bad), Verdict::Damaged { .. }), "byte {at}");
        }
        let options = super::super::EmbeddedOptions::new(&path);
        let store = super::super::EmbeddedStore::open(options).await.unwrap();
        let request = RangeRequest { range: KeyRange::all(), revision: Revision(0), limit: 0 };
        let found = store.range(request).await.unwrap();
        assert_eq!(found.items.len(), 2);
        assert_eq!(found.revision.0, 9 + SKIPPED_REVISIONS);
        assert_eq!(found.items[1].version, 2);
    }
}
