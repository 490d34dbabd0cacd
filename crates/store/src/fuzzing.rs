//! The fuzzer's door to what is read from disk, behind the checksums, which no mutation would pass.
//!
//! Not here: the files of the engine, which are its own to check.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::{embedded, snapshot};

/// Reads a snapshot whose closing digest, which is left out, would be right; gives the entries seen.
pub fn snapshot(without_digest: &[u8]) -> usize {
    let mut seen = 0;
    let whole = [without_digest, &Sha256::digest(without_digest)[..]].concat();
    for bytes in [without_digest, &whole] {
        let _refused = snapshot::read_entries(bytes, |_| {
            seen += 1;
            Ok(())
        });
    }
    seen
}

/// Reads a store that consists of these rows, whose checksums, which are left out, would be right; gives
/// whether it is believed.
pub fn rows(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
    embedded::is_believed(rows)
}
