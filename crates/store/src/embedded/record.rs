//! What is written to disk: rows of the engine, their keys and the versioned, checksummed records in them.
//!
//! Rows of the one keyspace, by the first byte of the key:
//! `m` + name: facts about the store (format version, compacted revision); `l` + id: one lease;
//! `r` + revision + number: one change of one key, so that rows sort in the order of commits.
//! All numbers are big-endian in keys and little-endian in values. Every value ends with the 64-bit xxh3
//! of everything before it, seeded by that of its row key, so that no record can stand in for another.

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::limits::RECORD_BYTES_MAX;

/// The version of all records written by this program.
pub(super) const FORMAT_VERSION: u8 = 1;

const CHANGE_HEADER_BYTES: usize = 40;
const CHECKSUM_BYTES: usize = 8;
const LEASE_BYTES: usize = 16;
const FACT_BYTES: usize = 8;

const KIND_PUT: u8 = 1;
const KIND_DELETE: u8 = 2;

pub(super) const CHANGE_PREFIX: u8 = b'r';
pub(super) const LEASE_PREFIX: u8 = b'l';
pub(super) const FACT_PREFIX: u8 = b'm';

/// The fact that says up to where the history is compacted.
pub(super) const FACT_COMPACTED: &[u8] = b"mcompacted";
/// The fact that says which version of the format the store was created with.
pub(super) const FACT_FORMAT: &[u8] = b"mformat";

/// Where a change lives: its revision and its number among the changes of the revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowKey {
    pub(super) revision: u64,
    pub(super) sub: u32,
}

impl RowKey {
    pub(super) fn encode(self) -> [u8; 13] {
        let mut row = [CHANGE_PREFIX; 13];
        row[1..9].copy_from_slice(&self.revision.to_be_bytes());
        row[9..].copy_from_slice(&self.sub.to_be_bytes());
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let (prefix, rest) = row.split_first()?;
        let (revision, sub) = rest.split_first_chunk::<8>()?;
        let sub = sub.try_into().ok()?;
        (*prefix == CHANGE_PREFIX).then_some(Self {
            revision: u64::from_be_bytes(*revision),
            sub: u32::from_be_bytes(sub),
        })
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) time_ms: i64,
    pub(super) key: Bytes,
    /// `None` for a deletion.
    pub(super) value: Option<Bytes>,
    pub(super) create_revision: u64,
    pub(super) version: u64,
    pub(super) lease: i64,
}

/// Why a record is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("its checksum does not match")]
    Checksum,
    #[error("its format version {0} is unknown")]
    Version(u8),
    #[error("its length does not fit its contents")]
    Length,
    #[error("its kind {0} is unknown")]
    Kind(u8),
}

/// The length on disk of a change.
pub(super) fn record_bytes(key: &[u8], value: &[u8]) -> usize {
    CHANGE_HEADER_BYTES + key.len() + value.len() + CHECKSUM_BYTES
}

/// A value as it goes to disk.
pub(super) struct ChangeRef<'a> {
    pub(super) time_ms: i64,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) create_revision: u64,
    pub(super) version: u64,
    pub(super) lease: i64,
}

/// An encoded value, with its key and itself as they lie in the record.
pub(super) struct Put {
    pub(super) record: Bytes,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

/// Encodes a value for its row.
pub(super) fn encode_put(row: RowKey, change: &ChangeRef<'_>) -> Put {
    let record = encode_change(row, KIND_PUT, change);
    let value_at = CHANGE_HEADER_BYTES + change.key.len();
    let key = record.slice(CHANGE_HEADER_BYTES..value_at);
    let value = record.slice(value_at..value_at + change.value.len());
    Put { record, key, value }
}

/// Encodes a deletion for its row.
pub(super) fn encode_deletion(row: RowKey, time_ms: i64, key: &[u8]) -> Bytes {
    let (create_revision, version, lease) = (0, 0, 0);
    let change = ChangeRef { time_ms, key, value: &[], create_revision, version, lease };
    encode_change(row, KIND_DELETE, &change)
}

fn encode_change(row: RowKey, kind: u8, change: &ChangeRef<'_>) -> Bytes {
    let mut out = Vec::with_capacity(record_bytes(change.key, change.value));
    out.extend_from_slice(&[FORMAT_VERSION, kind, 0, 0]);
    let key_bytes = u32::try_from(change.key.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&key_bytes.to_le_bytes());
    out.extend_from_slice(&change.time_ms.to_le_bytes());
    out.extend_from_slice(&change.create_revision.to_le_bytes());
    out.extend_from_slice(&change.version.to_le_bytes());
    out.extend_from_slice(&change.lease.to_le_bytes());
    out.extend_from_slice(change.key);
    out.extend_from_slice(change.value);
    seal(&row.encode(), out)
}

/// Decodes a change and verifies it; key and value are copied so that nothing else is kept alive.
pub(super) fn decode_change(row: RowKey, bytes: &[u8]) -> Result<Record, RecordError> {
    let body = open(&row.encode(), bytes)?;
    let (header, contents) =
        body.split_first_chunk::<CHANGE_HEADER_BYTES>().ok_or(RecordError::Length)?;
    let number = |at: usize| {
        let mut field = [0; 8];
        field.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(field)
    };
    let key_bytes = (number(0) >> 32) as usize;
    let (key, value) = contents.split_at_checked(key_bytes).ok_or(RecordError::Length)?;
    let value = match header[1] {
        KIND_PUT => Some(Bytes::copy_from_slice(value)),
        KIND_DELETE => None,
        kind => return Err(RecordError::Kind(kind)),
    };
    Ok(Record {
        time_ms: number(8).cast_signed(),
        key: Bytes::copy_from_slice(key),
        value,
        create_revision: number(16),
        version: number(24),
        lease: number(32).cast_signed(),
    })
}

/// The row of a lease.
pub(super) fn lease_row(id: i64) -> [u8; 9] {
    let mut row = [LEASE_PREFIX; 9];
    row[1..].copy_from_slice(&id.to_be_bytes());
    row
}

/// Encodes a lease for its row: its time to live.
pub(super) fn encode_lease(id: i64, ttl_seconds: u64) -> Bytes {
    let mut out = vec![FORMAT_VERSION, 0, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(&ttl_seconds.to_le_bytes());
    seal(&lease_row(id), out)
}

/// Decodes a lease: its id and time to live.
pub(super) fn decode_lease(row: &[u8], bytes: &[u8]) -> Result<(i64, u64), RecordError> {
    let id = row.get(1..).and_then(|id| id.try_into().ok()).ok_or(RecordError::Length)?;
    let body: &[u8; LEASE_BYTES] = open(row, bytes)?.try_into().map_err(|_| RecordError::Length)?;
    let (_, ttl) = body.split_last_chunk::<8>().ok_or(RecordError::Length)?;
    Ok((i64::from_be_bytes(id), u64::from_le_bytes(*ttl)))
}

/// Encodes one fact about the store.
pub(super) fn encode_fact(row: &[u8], fact: u64) -> Bytes {
    let mut out = vec![FORMAT_VERSION, 0, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(&fact.to_le_bytes());
    seal(row, out)
}

/// Decodes one fact about the store.
pub(super) fn decode_fact(row: &[u8], bytes: &[u8]) -> Result<u64, RecordError> {
    let body = open(row, bytes)?;
    let fact = body.get(8..8 + FACT_BYTES).and_then(|fact| fact.try_into().ok());
    fact.map(u64::from_le_bytes).ok_or(RecordError::Length)
}

fn checksum(row: &[u8], body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, xxh3_64(row))
}

pub(super) fn seal(row: &[u8], mut body: Vec<u8>) -> Bytes {
    debug_assert!(body.len() <= RECORD_BYTES_MAX);
    let checksum = checksum(row, &body);
    body.extend_from_slice(&checksum.to_le_bytes());
    body.into()
}

fn open<'a>(row: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], RecordError> {
    let (body, stored) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(RecordError::Length)?;
    if checksum(row, body) != u64::from_le_bytes(*stored) {
        return Err(RecordError::Checksum);
    }
    match body.first() {
        Some(&FORMAT_VERSION) => Ok(body),
        Some(&version) => Err(RecordError::Version(version)),
        None => Err(RecordError::Length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: RowKey = RowKey { revision: 7, sub: 2 };

    fn change(value: Option<&[u8]>) -> Bytes {
        let Some(value) = value else { return encode_deletion(ROW, -5, b"key") };
        let (create_revision, version, lease) = (3, 4, -9);
        let change = ChangeRef { time_ms: -5, key: b"key", value, create_revision, version, lease };
        let put = encode_put(ROW, &change);
        assert_eq!((&put.key[..], &put.value[..]), (&b"key"[..], value));
        put.record
    }

    #[test]
    fn a_change_reads_back_as_it_was_written() {
        for (value, numbers) in
            [(Some(&b"value"[..]), (3, 4, -9)), (Some(b""), (3, 4, -9)), (None, (0, 0, 0))]
        {
            let record = decode_change(ROW, &change(value)).unwrap();
            assert_eq!((&record.key[..], record.time_ms), (&b"key"[..], -5));
            assert_eq!(record.value.as_deref(), value);
            assert_eq!((record.create_revision, record.version, record.lease), numbers);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let good = change(Some(b"value"));
        for at in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[at / 8] ^= 1 << (at % 8);
            assert_eq!(decode_change(ROW, &bad), Err(RecordError::Checksum), "bit {at}");
        }
        for length in 0..good.len() {
            assert!(decode_change(ROW, &good[..length]).is_err(), "length {length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_upset_the_decoders(
            row in proptest::collection::vec(0..=u8::MAX, 0..16),
            body in proptest::collection::vec(0..=u8::MAX, 0..80),
        ) {
            let _any = RowKey::decode(&row);
            // With a good checksum, so that what lies behind it is reached.
            let sealed = seal(&ROW.encode(), body.clone());
            for bytes in [&body[..], &sealed] {
                let _any = decode_change(ROW, bytes);
            }
            let sealed = seal(&row, body);
            let _any = (decode_lease(&row, &sealed), decode_fact(&row, &sealed));
        }
    }

    #[test]
    fn a_record_in_another_row_is_refused() {
        let other = RowKey { revision: 8, sub: 2 };
        assert_eq!(decode_change(other, &change(None)), Err(RecordError::Checksum));
    }

    #[test]
    fn rows_sort_in_commit_order() {
        let rows = [(1, 0), (1, 1), (2, 0), (256, 0), (u64::MAX, u32::MAX)]
            .map(|(revision, sub)| RowKey { revision, sub });
        assert!(rows.map(RowKey::encode).is_sorted());
        assert_eq!(rows.map(|row| RowKey::decode(&row.encode()).unwrap()), rows);
    }

    #[test]
    fn leases_and_facts_read_back() {
        assert_eq!(decode_lease(&lease_row(-4), &encode_lease(-4, 60)), Ok((-4, 60)));
        assert_eq!(decode_fact(FACT_COMPACTED, &encode_fact(FACT_COMPACTED, 9)), Ok(9));
        assert!(decode_fact(FACT_FORMAT, &encode_fact(FACT_COMPACTED, 9)).is_err());
    }
}
