//! The versions of one key, newest apart. Pure data; which versions are still needed is decided by
//! the state (`state.rs`).

use bytes::Bytes;

use crate::{KeyValue, LeaseId, Revision};

/// One write of a key: a value, or its absence.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) mod_revision: u64,
    /// The revision that created the key; 0 when this version is a deletion.
    pub(super) create_revision: u64,
    /// Writes since creation; 0 for a deletion.
    pub(super) version: u64,
    /// 0 for none.
    pub(super) lease: i64,
    /// Which of the operations of its revision.
    pub(super) sub: u32,
    pub(super) value: Bytes,
}

impl Version {
    pub(super) fn is_deletion(&self) -> bool {
        self.create_revision == 0
    }

    pub(super) fn key_value(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: self.value.clone(),
            create_revision: Revision(self.create_revision),
            mod_revision: Revision(self.mod_revision),
            version: self.version,
            lease: (self.lease != 0).then_some(LeaseId(self.lease)),
        }
    }
}

/// All kept versions of one key.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    newest: Version,
    /// Oldest first; empty for nearly every key.
    older: Vec<Version>,
}

impl Chain {
    pub(super) fn new(version: Version) -> Self {
        Self { newest: version, older: Vec::new() }
    }

    pub(super) fn into_newest(self) -> Version {
        self.newest
    }

    pub(super) fn newest(&self) -> &Version {
        &self.newest
    }

    /// Adds a version that is newer than all others.
    pub(super) fn push(&mut self, version: Version) {
        debug_assert!(version.mod_revision > self.newest.mod_revision);
        self.older.push(std::mem::replace(&mut self.newest, version));
    }

    /// Takes the newest version off; `false` when it was the only one and the chain must go.
    pub(super) fn pop(&mut self) -> bool {
        match self.older.pop() {
            Some(version) => {
                self.newest = version;
                true
            }
            None => false,
        }
    }

    /// The value as of `revision`.
    pub(super) fn at(&self, revision: u64) -> Option<&Version> {
        let version = if self.newest.mod_revision <= revision {
            &self.newest
        } else {
            let after = self.older.partition_point(|version| version.mod_revision <= revision);
            self.older.get(after.checked_sub(1)?)?
        };
        (!version.is_deletion()).then_some(version)
    }

    /// Drops what no read at `floor` or later can see, handing each dropped version to `dropped`;
    /// `false` when nothing is left and the chain must go.
    pub(super) fn trim(&mut self, floor: u64, mut dropped: impl FnMut(&Version)) -> bool {
        if self.newest.mod_revision <= floor {
            self.older.drain(..).for_each(|version| dropped(&version));
            self.older.shrink_to_fit();
            if self.newest.is_deletion() {
                dropped(&self.newest);
                return false;
            }
            return true;
        }
        let after = self.older.partition_point(|version| version.mod_revision <= floor);
        if let Some(last) = after.checked_sub(1) {
            let keep_from = if self.older[last].is_deletion() { after } else { last };
            self.older.drain(..keep_from).for_each(|version| dropped(&version));
            if self.older.is_empty() {
                self.older.shrink_to_fit();
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(mod_revision: u64, create_revision: u64) -> Version {
        Version { mod_revision, create_revision, version: 1, lease: 0, sub: 0, value: Bytes::new() }
    }

    fn chain() -> Chain {
        let mut chain = Chain::new(version(2, 2));
        for next in [version(4, 2), version(6, 0), version(8, 8)] {
            chain.push(next);
        }
        chain
    }

    #[test]
    fn at_finds_the_version_of_a_revision() {
        let seen: Vec<_> =
            (1..=9).map(|revision| chain().at(revision).map(|found| found.mod_revision)).collect();
        let (two, four, eight) = (Some(2), Some(4), Some(8));
        assert_eq!(seen, [None, two, two, four, four, None, None, eight, eight]);
    }

    #[test]
    fn trim_keeps_what_the_floor_can_see() {
        for (floor, expected) in [
            (1, vec![]),
            (2, vec![]),
            (3, vec![]),
            (4, vec![2]),
            (6, vec![2, 4, 6]),
            (7, vec![2, 4, 6]),
            (8, vec![2, 4, 6]),
        ] {
            let mut chain = chain();
            let mut dropped = Vec::new();
            assert!(chain.trim(floor, |version| dropped.push(version.mod_revision)));
            assert_eq!(dropped, expected, "floor {floor}");
        }
    }

    #[test]
    fn a_deletion_at_the_floor_ends_the_chain() {
        let mut chain = chain();
        chain.push(version(9, 0));
        let mut dropped = 0;
        assert!(!chain.trim(9, |_| dropped += 1));
        assert_eq!(dropped, 5);
    }
}
