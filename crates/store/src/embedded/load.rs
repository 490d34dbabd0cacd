//! Reading the whole store at the start, verifying every record.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::fjall_disk::FjallDisk;
use super::leases::Leases;
use super::record::{
    CHANGE_PREFIX, FACT_COMPACTED, FACT_FORMAT, FACT_PREFIX, FORMAT_VERSION, LEASE_PREFIX, Record,
    RecordError, RowKey, decode_change, decode_fact, decode_lease, seal,
};
use super::state::{Loader, State};
use crate::{LeaseId, StoreError};

/// What was found on disk.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) state: State,
    /// Rows that should no longer be there.
    pub(super) garbage: Vec<RowKey>,
    leases: Vec<(i64, u64)>,
}

impl Contents {
    /// The leases, all starting afresh at `now_ms`, with the keys that hang on them.
    pub(super) fn leases_at(&self, now_ms: i64) -> Leases {
        let mut leases = Leases::default();
        for (id, ttl_seconds) in &self.leases {
            leases.insert(*id, *ttl_seconds, now_ms);
        }
        if self.leases.is_empty() {
            return leases;
        }
        for (key, chain) in self.state.keys.iter() {
            if leases.contains(LeaseId(chain.newest().lease)) {
                leases.attach(&chain.newest().key_value(key));
            }
        }
        leases
    }
}

/// Reads everything from `disk`: one thread reads, one verifies, and this one builds the working set.
pub(super) fn load(disk: &FjallDisk) -> Result<Contents, StoreError> {
    std::thread::scope(|scope| {
        let (to_verify, rows) = sync_channel(BATCHES_WAITING_MAX);
        let (verified, batches) = sync_channel(BATCHES_WAITING_MAX);
        let reading = scope.spawn(move || read(disk, &to_verify));
        let verifying = scope.spawn(move || verify(rows, &verified));
        let mut builder = Builder::default();
        batches.into_iter().flatten().for_each(|found| builder.add(found));
        let panicked = || StoreError::Corrupt { what: "the engine cannot be read".to_owned() };
        // What is not to be believed comes first: the reading ends because of it.
        verifying.join().map_err(|_| panicked())??;
        reading.join().map_err(|_| panicked())??;
        builder.finish()
    })
}

/// Whether a store that consists of these rows, here without their checksums, can be used: for the fuzzer.
pub(crate) fn is_believed(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
    let mut builder = Builder::default();
    for (row, body) in rows {
        match decode(row, &seal(row, body.clone())) {
            Ok(found) => builder.add(found),
            Err(_) => return false,
        }
    }
    builder.finish().map(|contents| contents.leases_at(0)).is_ok()
}

/// Records that go from one thread to the next at once.
const BATCH_RECORDS: usize = 512;
/// Batches that a thread may be ahead of the next.
const BATCHES_WAITING_MAX: usize = 16;

/// A row and its record, as the engine gives them.
type Row = (fjall::Slice, fjall::Slice);

/// Sends all rows on, in order.
fn read(disk: &FjallDisk, to_verify: &SyncSender<Vec<Row>>) -> Result<(), StoreError> {
    let mut batch = Vec::with_capacity(BATCH_RECORDS);
    disk.scan(|row, record| {
        batch.push((row, record));
        if batch.len() < BATCH_RECORDS {
            return Ok(());
        }
        let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_RECORDS));
        // Whoever verifies goes away only when there is no use in reading on.
        to_verify.send(full).map_err(|_| StoreError::Closed)
    })?;
    to_verify.send(batch).map_err(|_| StoreError::Closed)
}

/// Verifies rows, and copies what is in them out of the engine's memory.
fn verify(rows: Receiver<Vec<Row>>, verified: &SyncSender<Vec<Found>>) -> Result<(), StoreError> {
    for batch in rows {
        let mut found = Vec::with_capacity(batch.len());
        for (row, record) in batch {
            found.push(decode(&row, &record).map_err(|error| StoreError::Corrupt {
                what: format!("{} is not to be believed: {error}", name(&row)),
            })?);
        }
        verified.send(found).map_err(|_| StoreError::Closed)?;
    }
    Ok(())
}

/// One verified record.
enum Found {
    Format,
    Compacted(u64),
    Lease(i64, u64),
    Change(RowKey, Record),
}

fn decode(row: &[u8], record: &[u8]) -> Result<Found, RecordError> {
    match row.first() {
        Some(&CHANGE_PREFIX) => {
            let row = RowKey::decode(row).ok_or(RecordError::Length)?;
            Ok(Found::Change(row, decode_change(row, record)?))
        }
        Some(&LEASE_PREFIX) => {
            decode_lease(row, record).map(|(id, ttl_seconds)| Found::Lease(id, ttl_seconds))
        }
        Some(&FACT_PREFIX) if row == FACT_COMPACTED => {
            decode_fact(row, record).map(Found::Compacted)
        }
        Some(&FACT_PREFIX) if row == FACT_FORMAT => {
            let format = decode_fact(row, record)?;
            if format != u64::from(FORMAT_VERSION) {
                return Err(RecordError::Version(u8::try_from(format).unwrap_or(u8::MAX)));
            }
            Ok(Found::Format)
        }
        prefix => Err(RecordError::Kind(prefix.copied().unwrap_or_default())),
    }
}

/// Facts sort before changes, so the history's beginning is known when the first change comes.
#[derive(Default)]
struct Builder {
    has_format: bool,
    compacted: u64,
    leases: Vec<(i64, u64)>,
    loader: Option<Loader>,
}

impl Builder {
    fn add(&mut self, found: Found) {
        match found {
            Found::Format => self.has_format = true,
            Found::Compacted(revision) => self.compacted = revision,
            Found::Lease(id, ttl_seconds) => self.leases.push((id, ttl_seconds)),
            Found::Change(row, change) => {
                let compacted = self.compacted;
                self.loader.get_or_insert_with(|| Loader::new(compacted)).add(row, change);
            }
        }
    }

    fn finish(self) -> Result<Contents, StoreError> {
        if !self.has_format {
            return Err(StoreError::Corrupt { what: "the format version is missing".to_owned() });
        }
        let loader = self.loader.unwrap_or_else(|| Loader::new(self.compacted));
        let (state, garbage) = loader.finish();
        Ok(Contents { state, garbage, leases: self.leases })
    }
}

/// A row in words.
fn name(row: &[u8]) -> String {
    match (row.first(), RowKey::decode(row)) {
        (_, Some(row)) => format!("change {} of revision {}", row.sub, row.revision),
        (Some(&LEASE_PREFIX), _) => "a lease".to_owned(),
        _ => format!("row {:?}", String::from_utf8_lossy(row)),
    }
}
