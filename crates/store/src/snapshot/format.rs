//! The bytes of a snapshot: a head, entries, an end with a digest.
//!
//! All numbers are little-endian. Head: a line of text, the format's version, revision, time. Then entries,
//! each with a tag; the last is either the end (counts and SHA-256 of everything before the digest) or
//! the words of whoever had to give up.

use std::io::Read;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{SnapshotError, SnapshotSummary, copy, io};
use crate::limits::{KEY_BYTES_MAX, SNAPSHOT_WORDS_BYTES_MAX, TRANSACTION_BYTES_MAX};
use crate::{KeyValue, LeaseId, Revision};

const MAGIC: &[u8; 17] = b"keelson snapshot\n";
const FORMAT_VERSION: u8 = 1;

const TAG_ITEM: u8 = 1;
const TAG_LEASE: u8 = 2;
const TAG_GIVEN_UP: u8 = 254;
const TAG_END: u8 = 255;

/// One thing in a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Item(KeyValue),
    Lease { id: i64, ttl_seconds: u64 },
}

/// Makes the bytes, and counts.
pub(super) struct Encoder {
    pending: Vec<u8>,
    digest: Sha256,
    summary: SnapshotSummary,
}

impl Encoder {
    pub(super) fn begin(revision: Revision, created: Timestamp) -> Self {
        let summary =
            SnapshotSummary { revision, created, keys: 0, leases: 0, bytes: 0, sha256: [0; 32] };
        let mut encoder = Self { pending: Vec::new(), digest: Sha256::new(), summary };
        encoder.pending.extend_from_slice(MAGIC);
        encoder.pending.push(FORMAT_VERSION);
        encoder.number(revision.0);
        encoder.number(created.as_millisecond().cast_unsigned());
        encoder
    }

    pub(super) fn item(&mut self, item: &KeyValue) {
        self.summary.keys += 1;
        self.pending.push(TAG_ITEM);
        for bytes in [&item.key, &item.value] {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.pending.extend_from_slice(&length.to_le_bytes());
        }
        self.number(item.create_revision.0);
        self.number(item.mod_revision.0);
        self.number(item.version);
        self.number(item.lease.map_or(0, |lease| lease.0).cast_unsigned());
        self.pending.extend_from_slice(&item.key);
        self.pending.extend_from_slice(&item.value);
    }

    pub(super) fn lease(&mut self, id: i64, ttl_seconds: u64) {
        self.summary.leases += 1;
        self.pending.push(TAG_LEASE);
        self.number(id.cast_unsigned());
        self.number(ttl_seconds);
    }

    /// Ends the snapshot; [`Encoder::take`] has the last bytes then.
    pub(super) fn finish(&mut self) -> SnapshotSummary {
        self.pending.push(TAG_END);
        self.number(self.summary.keys);
        self.number(self.summary.leases);
        self.digest.update(&self.pending);
        self.summary.bytes += self.pending.len() as u64 + 32;
        self.summary.sha256 = self.digest.finalize_reset().into();
        self.pending.extend_from_slice(&self.summary.sha256);
        self.summary.clone()
    }

    /// The bytes made since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.digest.update(&self.pending);
        self.summary.bytes += self.pending.len() as u64;
        std::mem::take(&mut self.pending)
    }

    /// The entry that ends what will never be a snapshot.
    pub(super) fn give_up(words: &str) -> Vec<u8> {
        let words = &words.as_bytes()[..words.len().min(SNAPSHOT_WORDS_BYTES_MAX)];
        let length = u32::try_from(words.len()).unwrap_or(u32::MAX);
        [&[TAG_GIVEN_UP][..], &length.to_le_bytes(), words].concat()
    }

    fn number(&mut self, number: u64) {
        self.pending.extend_from_slice(&number.to_le_bytes());
    }
}

struct Reader<R> {
    inner: R,
    digest: Sha256,
    bytes: u64,
}

impl<R: Read> Reader<R> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), SnapshotError> {
        self.inner.read_exact(buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => SnapshotError::CutShort(self.bytes),
            _ => io("read the snapshot")(error),
        })?;
        self.bytes += buffer.len() as u64;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        self.digest.update(buffer);
        Ok(buffer)
    }

    fn number(&mut self) -> Result<u64, SnapshotError> {
        self.take().map(u64::from_le_bytes)
    }

    fn bytes(&mut self, length: u32, most: usize) -> Result<Vec<u8>, SnapshotError> {
        let length = length as usize;
        if length > most {
            return Err(SnapshotError::Damaged("a length that no entry has"));
        }
        let mut buffer = vec![0; length];
        self.fill(&mut buffer)?;
        self.digest.update(&buffer);
        Ok(buffer)
    }

    fn item(&mut self) -> Result<KeyValue, SnapshotError> {
        let key_bytes = u32::from_le_bytes(self.take()?);
        let value_bytes = u32::from_le_bytes(self.take()?);
        let (create_revision, mod_revision) = (Revision(self.number()?), Revision(self.number()?));
        let version = self.number()?;
        let lease = self.number()?.cast_signed();
        let key = self.bytes(key_bytes, KEY_BYTES_MAX)?;
        let value = self.bytes(value_bytes, TRANSACTION_BYTES_MAX)?;
        Ok(KeyValue {
            key: copy(&key),
            value: value.into(),
            create_revision,
            mod_revision,
            version,
            lease: (lease != 0).then_some(LeaseId(lease)),
        })
    }

    fn end(&mut self, summary: &mut SnapshotSummary) -> Result<(), SnapshotError> {
        if (self.number()?, self.number()?) != (summary.keys, summary.leases) {
            return Err(SnapshotError::Damaged("the number of its entries is wrong"));
        }
        let computed: [u8; 32] = self.digest.finalize_reset().into();
        summary.sha256 = self.take()?;
        if computed != summary.sha256 {
            return Err(SnapshotError::Damaged("its SHA-256 does not match its contents"));
        }
        if self.inner.read(&mut [0]).map_err(io("read the snapshot"))? != 0 {
            return Err(SnapshotError::Damaged("something follows its end"));
        }
        summary.bytes = self.bytes;
        Ok(())
    }
}

/// Reads a snapshot to its end, and checks it.
pub(crate) fn read_entries(
    inner: impl Read,
    mut each: impl FnMut(Entry) -> Result<(), SnapshotError>,
) -> Result<SnapshotSummary, SnapshotError> {
    let mut reader = Reader { inner, digest: Sha256::new(), bytes: 0 };
    match reader.take::<17>() {
        Ok(magic) if magic == *MAGIC => {}
        Ok(_) | Err(SnapshotError::CutShort(_)) => return Err(SnapshotError::Foreign),
        Err(error) => return Err(error),
    }
    match reader.take()? {
        [FORMAT_VERSION] => {}
        [version] => return Err(SnapshotError::Version(version)),
    }
    let revision = Revision(reader.number()?);
    let created = Timestamp::from_millisecond(reader.number()?.cast_signed())
        .map_err(|_| SnapshotError::Damaged("its time is none"))?;
    let mut summary =
        SnapshotSummary { revision, created, keys: 0, leases: 0, bytes: 0, sha256: [0; 32] };
    loop {
        match reader.take()? {
            [TAG_ITEM] => {
                summary.keys += 1;
                each(Entry::Item(reader.item()?))?;
            }
            [TAG_LEASE] => {
                summary.leases += 1;
                let id = reader.number()?.cast_signed();
                each(Entry::Lease { id, ttl_seconds: reader.number()? })?;
            }
            [TAG_GIVEN_UP] => {
                let length = u32::from_le_bytes(reader.take()?);
                let words = reader.bytes(length, SNAPSHOT_WORDS_BYTES_MAX)?;
                return Err(SnapshotError::GivenUp(String::from_utf8_lossy(&words).into_owned()));
            }
            [TAG_END] => {
                reader.end(&mut summary)?;
                return Ok(summary);
            }
            _ => return Err(SnapshotError::Damaged("an entry of an unknown kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &str, lease: i64) -> KeyValue {
        KeyValue {
            key: copy(key.as_bytes()),
            value: copy(b"value"),
            create_revision: Revision(3),
            mod_revision: Revision(5),
            version: 2,
            lease: (lease != 0).then_some(LeaseId(lease)),
        }
    }

    fn sample() -> (Vec<u8>, SnapshotSummary) {
        let mut encoder = Encoder::begin(Revision(7), Timestamp::UNIX_EPOCH);
        encoder.item(&item("a", 0));
        let mut bytes = encoder.take();
        encoder.item(&item("b", -4));
        encoder.lease(-4, 60);
        let summary = encoder.finish();
        bytes.extend(encoder.take());
        (bytes, summary)
    }

    fn entries(bytes: &[u8]) -> Result<(Vec<Entry>, SnapshotSummary), SnapshotError> {
        let mut found = Vec::new();
        let summary = read_entries(bytes, |entry| {
            found.push(entry);
            Ok(())
        })?;
        Ok((found, summary))
    }

    #[test]
    fn what_was_written_is_read() {
        let (bytes, written) = sample();
        let (found, summary) = entries(&bytes).unwrap();
        let lease = Entry::Lease { id: -4, ttl_seconds: 60 };
        assert_eq!(found, [Entry::Item(item("a", 0)), Entry::Item(item("b", -4)), lease]);
        assert_eq!(summary, written);
        assert_eq!(summary.bytes, bytes.len() as u64);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let (good, _) = sample();
        for at in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(entries(&bad).is_err(), "bit {at}");
        }
        for length in 0..good.len() {
            let error = entries(&good[..length]).unwrap_err();
            let named = matches!(error, SnapshotError::CutShort(_) | SnapshotError::Foreign);
            assert!(named, "length {length}: {error}");
        }
        let longer = [&good[..], b"x"].concat();
        assert!(matches!(entries(&longer), Err(SnapshotError::Damaged(_))));
    }

    #[test]
    fn what_was_given_up_is_no_snapshot() {
        let mut encoder = Encoder::begin(Revision(7), Timestamp::UNIX_EPOCH);
        let mut bytes = encoder.take();
        bytes.extend(Encoder::give_up("the store is closed"));
        let error = entries(&bytes).unwrap_err().to_string();
        assert_eq!(error, "saving it failed: the store is closed");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_upset_the_reader(
            rest in proptest::collection::vec(
                proptest::prop_oneof![0..=u8::MAX, 0..3u8, 254..=255u8], 0..200,
            ),
        ) {
            let _any = entries(&rest);
            let head = Encoder::begin(Revision(7), Timestamp::UNIX_EPOCH).take();
            proptest::prop_assert!(entries(&[head, rest].concat()).is_err());
        }
    }
}
