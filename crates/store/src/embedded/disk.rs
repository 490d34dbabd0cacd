//! What the committer needs from a disk, and the disk that is none.
//!
//! The disk keeps rows; what they mean is known to `record.rs` and `state.rs`.

use bytes::Bytes;

use crate::StoreError;

/// Rows that are written and removed together.
#[derive(Debug, Default)]
pub(super) struct DiskBatch {
    pub(super) puts: Vec<(Bytes, Bytes)>,
    pub(super) removes: Vec<Bytes>,
}

impl DiskBatch {
    pub(super) fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.removes.is_empty()
    }

    pub(super) fn put(&mut self, row: &[u8], record: Bytes) {
        self.puts.push((Bytes::copy_from_slice(row), record));
    }

    pub(super) fn remove(&mut self, row: &[u8]) {
        self.removes.push(Bytes::copy_from_slice(row));
    }
}

/// Which writes the free space allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Any.
    Plenty,
    /// Those that only delete, so that space can be won back.
    DeletionsOnly,
    /// None.
    Full,
}

/// What the disk must hold for the memory to be true.
#[derive(Debug)]
pub(super) struct Truth {
    /// The newest acknowledged revision.
    pub(super) revision: u64,
    pub(super) compacted: u64,
    /// Id and time to live of each lease.
    pub(super) leases: Vec<(i64, u64)>,
}

/// Durable rows.
pub(super) trait Disk: Send + 'static {
    /// Writes `batch` whole or not at all; `sync`: not before it would survive a power cut. After an
    /// error nothing may be written until [`Disk::restore`] has succeeded.
    fn write(&mut self, batch: DiskBatch, sync: bool) -> Result<(), StoreError>;

    /// Brings the disk back into service after a failed write, holding exactly `truth`.
    fn restore(&mut self, truth: &Truth) -> Result<(), StoreError>;

    /// Whether the disk has failed by itself, between writes, so that it has to be restored first.
    fn has_failed(&self) -> bool;

    /// Which writes may be tried.
    fn room(&self) -> Room;

    /// Gives space back when much more than `record_bytes` is used. Does not wait for it.
    fn shrink(&mut self, record_bytes: u64);
}

/// Keeps nothing: for simulations and tests, and for stores that need not outlive the process.
#[derive(Debug)]
pub(super) struct NoDisk;

impl Disk for NoDisk {
    fn write(&mut self, _batch: DiskBatch, _sync: bool) -> Result<(), StoreError> {
        Ok(())
    }

    fn restore(&mut self, _truth: &Truth) -> Result<(), StoreError> {
        Ok(())
    }

    fn has_failed(&self) -> bool {
        false
    }

    fn room(&self) -> Room {
        Room::Plenty
    }

    fn shrink(&mut self, _record_bytes: u64) {}
}
