//! Making a damaged store usable again, up to the last good commit.
//!
//! Damage in the journals loses everything after it: the store goes back to the last commit before the
//! damage. Damage in the tables loses the records inside it, which may be of any age; what can be read is
//! copied to a new database, and its history is closed so that every client lists again. Nothing is
//! deleted: what is replaced is moved to `<path>/damaged`.

use std::path::{Path, PathBuf};

use super::disk::{Disk, DiskBatch};
use super::fjall_disk::FjallDisk;
use super::journal_check::{self, Verdict};
use super::load;
use super::record::{FACT_COMPACTED, encode_fact};
use crate::{Revision, StoreError};

/// Revisions that are left out after a loss: what was lost had revisions that clients may have seen, and a
/// revision must never mean two things. History before is closed, so that every client lists again.
pub(super) const SKIPPED_REVISIONS: u64 = 1_000_000;

/// What [`recover`] found and did.
#[derive(Debug, Default)]
pub struct RecoveryReport {
    /// The newest revision of the store now.
    pub revision: Revision,
    /// What was lost, in words; empty when nothing was wrong.
    pub lost: Vec<String>,
    /// Where the damaged files are kept.
    pub kept_aside: Vec<PathBuf>,
}

/// Repairs the store in `path`, which nobody may have open. Blocks; a healthy store is left as it is.
pub fn recover(path: &Path) -> Result<RecoveryReport, StoreError> {
    let lock = FjallDisk::lock(path)?;
    let mut report = RecoveryReport::default();
    recover_journals(path, &mut report)?;
    let mut disk = FjallDisk::open_locked(path, lock, 0)?;
    match load::load(&disk) {
        Ok(contents) => {
            report.revision = Revision(contents.state.visible());
            if !report.lost.is_empty() {
                report.revision.0 += SKIPPED_REVISIONS;
                let mut batch = DiskBatch::default();
                batch.put(FACT_COMPACTED, encode_fact(FACT_COMPACTED, report.revision.0));
                disk.write(batch, true)?;
            }
            Ok(report)
        }
        Err(StoreError::Corrupt { what }) => {
            report.lost.push(what);
            disk.rebuild(&mut report)?;
            Ok(report)
        }
        Err(error) => Err(error),
    }
}

/// Cuts the first damaged journal before the damage and puts it and all later ones aside.
fn recover_journals(path: &Path, report: &mut RecoveryReport) -> Result<(), StoreError> {
    let failed = |source| StoreError::engine("repair the journals", source);
    let mut journals = journal_check::journals(&path.join("data")).map_err(failed)?.into_iter();
    let damaged = loop {
        let Some(journal) = journals.next() else { return Ok(()) };
        let verdict = journal_check::examine(&journal_check::read(&journal).map_err(failed)?);
        match verdict {
            Verdict::Whole => {}
            Verdict::Torn { .. } if journals.len() == 0 => return Ok(()),
            Verdict::Torn { good_bytes } | Verdict::Damaged { good_bytes } => {
                break (journal, good_bytes);
            }
        }
    };
    let (journal, good_bytes) = damaged;
    report.lost.push(format!("all commits after byte {good_bytes} of {}", journal.display()));
    let copy = aside(path, &journal).map_err(failed)?;
    std::fs::copy(&journal, &copy).map_err(failed)?;
    report.kept_aside.push(copy);
    journal_check::cut(&journal, good_bytes).map_err(failed)?;
    for later in journals {
        let moved = aside(path, &later).map_err(failed)?;
        std::fs::rename(&later, &moved).map_err(failed)?;
        report.kept_aside.push(moved);
    }
    Ok(())
}

/// A free name for `file` in the folder of damaged files.
pub(super) fn aside(path: &Path, file: &Path) -> std::io::Result<PathBuf> {
    let folder = path.join("damaged");
    std::fs::create_dir_all(&folder)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut number = 1;
    loop {
        let free = folder.join(format!("{name}.{number}"));
        if !free.try_exists()? {
            return Ok(free);
        }
        number += 1;
    }
}
