//! Copying what can still be read of a damaged database into a new one.

use std::path::Path;

use fjall::PersistMode;

use super::fjall_disk::{FjallDisk, Open, create, failed, io, make_current};
use super::record::{
    FACT_COMPACTED, FACT_PREFIX, LEASE_PREFIX, RowKey, decode_change, decode_fact, decode_lease,
    encode_fact,
};
use super::recover::{RecoveryReport, SKIPPED_REVISIONS, aside};
use crate::{Revision, StoreError};

/// Rows that are copied in one batch.
const COPY_ROWS: usize = 1024;
/// Damaged places after which the rest is given up.
const DAMAGED_PLACES_MAX: usize = 10_000;

impl FjallDisk {
    /// Copies all good rows into a new database, puts the old one aside and the new one in its place.
    pub(super) fn rebuild(mut self, report: &mut RecoveryReport) -> Result<(), StoreError> {
        let Some(old) = self.take_open() else { return Err(StoreError::Closed) };
        let path = self.path().to_owned();
        let newest = copy(&old, &path, report)?;
        drop(old);
        let data = path.join("data");
        let kept = aside(&path, &data).map_err(io("put the damaged data aside"))?;
        std::fs::rename(&data, &kept).map_err(io("put the damaged data aside"))?;
        report.kept_aside.push(kept);
        make_current(&path)?;
        report.revision = Revision(newest);
        Ok(())
    }
}

fn copy(old: &Open, path: &Path, report: &mut RecoveryReport) -> Result<u64, StoreError> {
    let new = create(path)?;
    let mut newest = 0;
    let mut batch = new.database.batch();
    let mut each = |row: &[u8], record: &[u8]| -> Result<(), StoreError> {
        let good = match (row.first(), RowKey::decode(row)) {
            (_, Some(change)) => {
                newest = newest.max(change.revision);
                decode_change(change, record).is_ok()
            }
            (Some(&LEASE_PREFIX), None) => decode_lease(row, record).is_ok(),
            (Some(&FACT_PREFIX), None) => {
                // Facts are written anew; this one bounds the revisions that have been used.
                if row == FACT_COMPACTED {
                    newest = newest.max(decode_fact(row, record).unwrap_or_default());
                }
                return Ok(());
            }
            _ => false,
        };
        if good {
            batch.insert(&new.keyspace, row, record);
        } else {
            report.lost.push(format!("row {row:02x?}"));
        }
        if batch.len() >= COPY_ROWS {
            std::mem::replace(&mut batch, new.database.batch())
                .commit()
                .map_err(failed("copy records"))?;
        }
        Ok(())
    };
    let gaps = scan_around_damage(old, &mut each)?;
    report.lost.extend(gaps);
    let newest = newest.saturating_add(SKIPPED_REVISIONS);
    batch.insert(&new.keyspace, FACT_COMPACTED, encode_fact(FACT_COMPACTED, newest));
    batch.durability(Some(PersistMode::SyncAll)).commit().map_err(failed("copy records"))?;
    Ok(newest)
}

/// Calls `each` with every row that can be read; answers the gaps, in words.
fn scan_around_damage(
    old: &Open,
    each: &mut impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<Vec<String>, StoreError> {
    let mut gaps = Vec::new();
    let mut from = vec![0];
    while gaps.len() < DAMAGED_PLACES_MAX {
        let mut last = None;
        let mut damaged = false;
        for guard in old.keyspace.range(from.clone()..) {
            let Ok((row, record)) = guard.into_inner() else {
                damaged = true;
                break;
            };
            each(&row, &record)?;
            last = Some(row.to_vec());
        }
        if !damaged {
            return Ok(gaps);
        }
        let before = last.as_deref().or(Some(&from)).and_then(RowKey::decode);
        let before = before.map_or(0, |row| row.revision);
        let Some(resume) = first_readable_after(old, before) else {
            gaps.push(format!("the changes of all revisions after {before}"));
            return Ok(gaps);
        };
        gaps.push(format!("changes between revisions {before} and {resume}"));
        from = RowKey { revision: resume, sub: 0 }.encode().to_vec();
    }
    gaps.push("everything after too many damaged places".to_owned());
    Ok(gaps)
}

/// The lowest revision after `before` from which rows can be read.
fn first_readable_after(old: &Open, before: u64) -> Option<u64> {
    let readable = |revision: u64| {
        let from = RowKey { revision, sub: 0 }.encode().to_vec();
        let first = old.keyspace.range(from..).next();
        first.map_or(Some(false), |guard| guard.into_inner().is_ok().then_some(true))
    };
    let (mut bad, mut step) = (before, 1u64);
    let mut good = loop {
        let probe = bad.checked_add(step)?;
        match readable(probe) {
            Some(true) => break probe,
            Some(false) => return None,
            None => (bad, step) = (probe, step.saturating_mul(2)),
        }
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        match readable(middle) {
            Some(true) => good = middle,
            _ => bad = middle,
        }
    }
    Some(good)
}
