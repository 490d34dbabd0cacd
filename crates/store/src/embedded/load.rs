//! Reading the whole store at the start, verifying every record.

use super::fjall_disk::FjallDisk;
use super::leases::Leases;
use super::record::{
    CHANGE_PREFIX, FACT_COMPACTED, FACT_FORMAT, FACT_PREFIX, FORMAT_VERSION, LEASE_PREFIX,
    RecordError, RowKey, decode_change, decode_fact, decode_lease,
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
        for (key, chain) in self.state.keys.iter() {
            if leases.contains(LeaseId(chain.newest().lease)) {
                leases.attach(&chain.newest().key_value(key));
            }
        }
        leases
    }
}

/// Reads everything from `disk`.
pub(super) fn load(disk: &FjallDisk) -> Result<Contents, StoreError> {
    let mut reader = Reader::default();
    // Facts sort before changes, so the history's beginning is known when the first change comes.
    disk.scan(|row, record| reader.row(row, record))?;
    if reader.format.is_none() {
        return Err(StoreError::Corrupt { what: "the format version is missing".to_owned() });
    }
    let loader = reader.loader.unwrap_or_else(|| Loader::new(reader.compacted));
    let (state, garbage) = loader.finish();
    Ok(Contents { state, garbage, leases: reader.leases })
}

#[derive(Debug, Default)]
struct Reader {
    format: Option<u64>,
    compacted: u64,
    leases: Vec<(i64, u64)>,
    loader: Option<Loader>,
}

impl Reader {
    fn row(&mut self, row: &[u8], record: &[u8]) -> Result<(), StoreError> {
        self.take(row, record).map_err(|error| StoreError::Corrupt {
            what: format!("{} is not to be believed: {error}", name(row)),
        })
    }

    fn take(&mut self, row: &[u8], record: &[u8]) -> Result<(), RecordError> {
        match row.first() {
            Some(&CHANGE_PREFIX) => {
                let row = RowKey::decode(row).ok_or(RecordError::Length)?;
                let change = decode_change(row, record)?;
                let compacted = self.compacted;
                self.loader.get_or_insert_with(|| Loader::new(compacted)).add(row, change);
            }
            Some(&LEASE_PREFIX) => self.leases.push(decode_lease(row, record)?),
            Some(&FACT_PREFIX) if row == FACT_COMPACTED => {
                self.compacted = decode_fact(row, record)?;
            }
            Some(&FACT_PREFIX) if row == FACT_FORMAT => {
                let format = decode_fact(row, record)?;
                if format != u64::from(FORMAT_VERSION) {
                    return Err(RecordError::Version(u8::try_from(format).unwrap_or(u8::MAX)));
                }
                self.format = Some(format);
            }
            prefix => return Err(RecordError::Kind(prefix.copied().unwrap_or_default())),
        }
        Ok(())
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
