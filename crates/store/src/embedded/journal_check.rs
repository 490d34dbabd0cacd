//! A look at the engine's journals before the engine opens them.
//!
//! The engine ends a journal silently at the first batch that it cannot read. That is right for a write
//! that a crash cut short, and wrong for damage in the middle: acknowledged commits would vanish. The two
//! are told apart here: only one batch is ever written without having been flushed, so after a torn
//! batch nothing valid can follow. The layout read here is that of fjall's journal format 3, without
//! compression; a test writes one and reads it back.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::StoreError;

const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const TAG_CLEAR: u8 = 4;
const MAGIC: &[u8; 4] = b"FJL\x03";
/// The engine numbers batches and changes of its tables one by one; a larger step is damage.
const SEQUENCE_STEP_MAX: u64 = 1 << 32;
/// Journals are read in pieces of this size.
const READ_BYTES: u64 = 1 << 20;
static ZEROS: [u8; 4096] = [0; 4096];

/// What a journal file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Good batches, then nothing but preallocated zeros.
    Whole,
    /// Good batches up to `good_bytes`, then one that was never finished.
    Torn { good_bytes: usize },
    /// Damage at `good_bytes`, with good batches behind it.
    Damaged { good_bytes: usize },
}

/// The journal files of `data`, oldest first.
pub(super) fn journals(data: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|end| end == "jnl")) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Verifies the journals of `data`; cuts off the batch that a crash left unfinished.
pub(super) fn check(data: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::engine("read the journals", source);
    let journals = journals(data).map_err(failed)?;
    for (at, path) in journals.iter().enumerate() {
        let is_active = at + 1 == journals.len();
        match examine(&read(path).map_err(failed)?) {
            Verdict::Whole => {}
            Verdict::Torn { good_bytes } if is_active => {
                tracing::warn!(journal = %path.display(), good_bytes, "cut an unfinished group off");
                cut(path, good_bytes).map_err(failed)?;
            }
            Verdict::Torn { good_bytes } | Verdict::Damaged { good_bytes } => {
                let what = format!("journal {} is damaged at byte {good_bytes}", path.display());
                return Err(StoreError::Corrupt { what });
            }
        }
    }
    Ok(())
}

/// Shortens a journal to its good batches.
pub(super) fn cut(path: &Path, good_bytes: usize) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.set_len(good_bytes as u64)?;
    file.sync_all()
}

/// Judges the contents of one journal file.
pub(super) fn examine(bytes: &[u8]) -> Verdict {
    let (mut begin, mut good_bytes) = (0, 0);
    let mut last_sequence = None;
    while let Some((end, sequence)) = batch(bytes, good_bytes) {
        // Sequence numbers are outside of the engine's checksum. Out of order, either this one or the
        // one before is wrong.
        if last_sequence.is_some_and(|last| sequence <= last || sequence - last > SEQUENCE_STEP_MAX)
        {
            return Verdict::Damaged { good_bytes: begin };
        }
        (begin, good_bytes) = (good_bytes, end);
        last_sequence = Some(sequence);
    }
    let rest = &bytes[good_bytes..];
    if is_zero(rest) {
        return Verdict::Whole;
    }
    if has_batch_after(rest, last_sequence) {
        return Verdict::Damaged { good_bytes };
    }
    Verdict::Torn { good_bytes }
}

/// Reads a journal file without the unwritten rest of its preallocated space.
pub(super) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    loop {
        let begin = bytes.len();
        let piece = (&mut file).take(READ_BYTES).read_to_end(&mut bytes)?;
        // No data after here: the rest is a hole. File systems that cannot tell are read to the end.
        let next = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(bytes.len() as u64));
        if piece == 0 || (is_zero(&bytes[begin..]) && next == Err(rustix::io::Errno::NXIO)) {
            return Ok(bytes);
        }
        file.seek(SeekFrom::Start(bytes.len() as u64))?;
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// Where each good batch of a journal ends.
#[cfg(test)]
pub(super) fn batch_ends(bytes: &[u8]) -> Vec<usize> {
    let next = |end: &usize| batch(bytes, *end).map(|(end, _)| end);
    std::iter::successors(next(&0), next).collect()
}

/// Whether a whole batch, newer than `last`, begins anywhere after the first byte.
fn has_batch_after(rest: &[u8], last: Option<u64>) -> bool {
    let newer = |at| batch(rest, at).is_some_and(|(_, sequence)| Some(sequence) > last);
    rest.windows(MAGIC.len()).any(|window| window == MAGIC)
        && (1..rest.len()).any(|at| rest[at] == TAG_START && newer(at))
}

/// The end and the sequence number of the valid batch that begins at `at`.
fn batch(bytes: &[u8], at: usize) -> Option<(usize, u64)> {
    let mut cursor = Cursor { bytes, at };
    cursor.tag(TAG_START)?;
    let items = cursor.number::<4>()?;
    let sequence = cursor.number::<8>()?;
    let begin = cursor.at;
    for _ in 0..items {
        cursor.item()?;
    }
    let contents = &bytes[begin..cursor.at];
    cursor.tag(TAG_END)?;
    let checksum = cursor.number::<8>()?;
    let magic = cursor.take(MAGIC.len())?;
    (magic == MAGIC && checksum == xxh3_64(contents)).then_some((cursor.at, sequence))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn tag(&mut self, expected: u8) -> Option<()> {
        (self.take(1)? == [expected]).then_some(())
    }

    fn number<const N: usize>(&mut self) -> Option<u64> {
        let mut number = [0; 8];
        number[..N].copy_from_slice(self.take(N)?);
        Some(u64::from_le_bytes(number))
    }

    /// A write (tag, value type, compression, keyspace, lengths, key, value) or the clearing of a keyspace.
    fn item(&mut self) -> Option<()> {
        match self.take(1)? {
            [TAG_ITEM] => {
                self.take(2)?;
                self.take(8)?;
                let key = usize::try_from(self.number::<2>()?).ok()?;
                self.take(4)?;
                let value = usize::try_from(self.number::<4>()?).ok()?;
                self.take(key)?;
                self.take(value).map(|_| ())
            }
            [TAG_CLEAR] => self.take(8).map(|_| ()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_upset_the_examination(
            pieces in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(0..5u8, 0..30),
                    Just(MAGIC.to_vec()),
                    Just(vec![0xff; 8]),
                ],
                0..20,
            ),
        ) {
            let bytes = pieces.concat();
            match examine(&bytes) {
                Verdict::Whole => {}
                Verdict::Torn { good_bytes } | Verdict::Damaged { good_bytes } => {
                    prop_assert!(good_bytes <= bytes.len());
                }
            }
        }
    }

    #[test]
    fn holes_are_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.jnl");
        std::fs::write(&path, b"begin").unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        let found = read(&path).unwrap();
        assert!(found.starts_with(b"begin\0"));
        assert!(found.len() <= 3 << 20, "{} bytes read", found.len());
        drop(file);
        std::os::unix::fs::FileExt::write_at(
            &std::fs::OpenOptions::new().write(true).open(&path).unwrap(),
            b"end",
            60 << 20,
        )
        .unwrap();
        assert!(read(&path).unwrap()[60 << 20..].starts_with(b"end"), "data behind a hole counts");
    }
}
