//! The ordered map from keys to their versions, which also knows how many keys live in any range.
//!
//! A two-level sorted list: blocks of up to [`BLOCK_ENTRIES_MAX`] entries, each with the number of its keys
//! whose newest version is a value. Counting a range looks at its two end blocks and adds up the rest,
//! which a balanced tree without such sums cannot do.

use std::ops::Range;

use bytes::Bytes;

use super::chain::{Chain, Version};
use crate::KeyRange;

mod heads;

use heads::Heads;

/// A full block is split; inserting moves at most this many entries.
const BLOCK_ENTRIES_MAX: usize = 128;
/// A block with fewer entries is joined with the next when both fit well into one.
const BLOCK_ENTRIES_MIN: usize = BLOCK_ENTRIES_MAX / 4;

/// Bytes of each key that are kept for searching within a block.
const BLOCK_HEAD_BYTES: usize = 16;
/// Bytes of each block's first key that are kept for searching the block.
const FIRST_HEAD_BYTES: usize = 40;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Index {
    #[expect(clippy::vec_box, reason = "when a block is split, all that come after it move")]
    blocks: Vec<Box<Block>>,
    /// The first key of each block.
    firsts: Vec<Bytes>,
    first_heads: Heads<FIRST_HEAD_BYTES>,
}

/// Never empty.
#[derive(Debug, Default)]
struct Block {
    keys: Vec<Bytes>,
    heads: Heads<BLOCK_HEAD_BYTES>,
    /// The versions of each key.
    chains: Vec<Chain>,
    live: usize,
}

/// Where a key is, or would be: block and place in it.
type Place = (usize, usize);

impl Index {
    /// The key as it is stored, and its versions.
    pub(super) fn get(&self, key: &[u8]) -> Option<(&Bytes, &Chain)> {
        let (block, at) = self.find(key).ok()?;
        let block = &self.blocks[block];
        Some((&block.keys[at], &block.chains[at]))
    }

    /// Adds the newest version of a key. The key is the one that is kept from now on: it shares the memory of
    /// the version, and the one before must not keep that of an old one.
    pub(super) fn push(&mut self, key: Bytes, version: Version) {
        let lives = !version.is_deletion();
        match self.find(&key) {
            Ok((number, at)) => {
                let block = &mut self.blocks[number];
                let chain = &mut block.chains[at];
                block.live -= usize::from(is_live(chain));
                chain.push(version);
                block.live += usize::from(lives);
                block.keys[at] = key;
                if at == 0 {
                    self.note_first(number);
                }
            }
            Err(place) => self.insert(place, key, Chain::new(version)),
        }
    }

    /// Puts a value in place of all versions of a key; answers the newest of those.
    pub(super) fn replace(&mut self, key: Bytes, version: Version) -> Option<Version> {
        match self.find(&key) {
            Ok((block, at)) => {
                let block = &mut self.blocks[block];
                let chain = &mut block.chains[at];
                block.live += usize::from(!is_live(chain));
                let before = std::mem::replace(chain, Chain::new(version));
                Some(before.into_newest())
            }
            Err(place) => {
                self.insert(place, key, Chain::new(version));
                None
            }
        }
    }

    /// Removes a key; answers its newest version.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Version> {
        let mut newest = None;
        self.change(key, |chain| {
            newest = Some(chain.newest().clone());
            false
        });
        newest
    }

    /// Takes the newest version of a key back; the key goes with its only version.
    pub(super) fn pop(&mut self, key: &[u8]) {
        self.change(key, Chain::pop);
    }

    /// Changes the versions of a key; when `change` answers `false`, the key goes.
    pub(super) fn change(&mut self, key: &[u8], change: impl FnOnce(&mut Chain) -> bool) {
        let Ok((block, at)) = self.find(key) else { return };
        let changed = &mut self.blocks[block];
        let chain = &mut changed.chains[at];
        changed.live -= usize::from(is_live(chain));
        if change(chain) {
            changed.live += usize::from(is_live(chain));
        } else {
            changed.keys.remove(at);
            changed.heads.remove(at);
            changed.chains.remove(at);
            self.tidy(block, at);
        }
    }

    /// All keys of `range`, which is not a single key, after `after` or from its start, in order.
    pub(super) fn range<'a>(
        &'a self,
        range: &KeyRange,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Chain)> {
        let from = match after {
            Some(after) => {
                self.find(after).map_or_else(|place| place, |(block, at)| (block, at + 1))
            }
            None => self.first(&range.start),
        };
        let to = self.end(range).max(from);
        let blocks = (from.0..=to.0).filter_map(|at| Some((at, self.blocks.get(at)?)));
        blocks.flat_map(move |(at, block)| {
            let begin = if at == from.0 { from.1 } else { 0 };
            let end = if at == to.0 { to.1 } else { block.keys.len() };
            block.keys[begin..end].iter().zip(&block.chains[begin..end])
        })
    }

    /// How many keys of `range`, which is not a single key, live: their newest version is a value.
    pub(super) fn live(&self, range: &KeyRange) -> usize {
        let from = self.first(&range.start);
        let to = self.end(range).max(from);
        if from.0 == to.0 {
            return self.live_within(from.0, from.1..to.1);
        }
        let whole: usize = self.blocks[from.0 + 1..to.0].iter().map(|block| block.live).sum();
        let first = self.live_within(from.0, from.1..self.blocks[from.0].keys.len());
        first + whole + self.live_within(to.0, 0..to.1)
    }

    /// All keys, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Chain)> {
        self.blocks.iter().flat_map(|block| block.keys.iter().zip(&block.chains))
    }

    fn live_within(&self, block: usize, places: Range<usize>) -> usize {
        let chains = self.blocks.get(block).map(|block| &block.chains[places]);
        chains.into_iter().flatten().filter(|chain| is_live(chain)).count()
    }

    /// The place of `key`, or in `Err` the one where it belongs.
    fn find(&self, key: &[u8]) -> Result<Place, Place> {
        let block = match self.first_heads.search(&self.firsts, key) {
            Ok(block) => block,
            Err(after) => after.saturating_sub(1),
        };
        let Some(found) = self.blocks.get(block) else { return Err((0, 0)) };
        match found.heads.search(&found.keys, key) {
            Ok(at) => Ok((block, at)),
            Err(at) => Err((block, at)),
        }
    }

    /// The place of the first key that is not before `key`.
    fn first(&self, key: &[u8]) -> Place {
        self.find(key).unwrap_or_else(|place| place)
    }

    /// The place after the last key of `range`.
    fn end(&self, range: &KeyRange) -> Place {
        match range.upper_bound() {
            Some(end) => self.first(end),
            None => {
                let last = self.blocks.len().saturating_sub(1);
                (last, self.blocks.get(last).map_or(0, |block| block.keys.len()))
            }
        }
    }

    fn insert(&mut self, (mut block, mut at): Place, key: Bytes, chain: Chain) {
        let live = usize::from(is_live(&chain));
        let appends = block + 1 == self.blocks.len() && at == BLOCK_ENTRIES_MAX;
        if self.blocks.is_empty() || appends {
            // Keys that come in order fill their blocks.
            let added = Block::new(vec![key], vec![chain]);
            self.insert_block(self.blocks.len(), added);
            return;
        }
        if self.blocks[block].keys.len() == BLOCK_ENTRIES_MAX {
            // Before there is one too many, for which all room would be doubled.
            let half = self.blocks[block].split();
            self.insert_block(block + 1, half);
            let kept = self.blocks[block].keys.len();
            if at > kept {
                (block, at) = (block + 1, at - kept);
            }
        }
        let found = &mut self.blocks[block];
        found.keys.insert(at, key);
        found.heads.insert(&found.keys, at);
        found.chains.insert(at, chain);
        found.live += live;
        if at == 0 {
            self.note_first(block);
        }
    }

    fn insert_block(&mut self, at: usize, block: Block) {
        self.firsts.insert(at, block.keys[0].clone());
        self.first_heads.insert(&self.firsts, at);
        self.blocks.insert(at, Box::new(block));
    }

    fn remove_block(&mut self, at: usize) -> Block {
        self.firsts.remove(at);
        self.first_heads.remove(at);
        *self.blocks.remove(at)
    }

    /// The first key of a block has changed.
    fn note_first(&mut self, block: usize) {
        self.firsts[block] = self.blocks[block].keys[0].clone();
        self.first_heads.replace(&self.firsts, block);
    }

    /// After the removal of the key at `at`: drops an empty block, joins a small one with its neighbour.
    fn tidy(&mut self, block: usize, at: usize) {
        let length = self.blocks[block].keys.len();
        if length == 0 {
            self.remove_block(block);
            return;
        }
        if at == 0 {
            self.note_first(block);
        }
        let next = self.blocks.get(block + 1).map(|next| next.keys.len());
        let fits = next.is_some_and(|next| next + length <= BLOCK_ENTRIES_MAX / 2);
        if length < BLOCK_ENTRIES_MIN && fits {
            let next = self.remove_block(block + 1);
            self.blocks[block].join(next);
        }
    }
}

impl Block {
    fn new(keys: Vec<Bytes>, chains: Vec<Chain>) -> Self {
        let live = chains.iter().filter(|chain| is_live(chain)).count();
        Self { heads: Heads::new(&keys), keys, chains, live }
    }

    /// Takes the second half off.
    fn split(&mut self) -> Self {
        let middle = self.keys.len() / 2;
        let half = Self::new(self.keys.split_off(middle), self.chains.split_off(middle));
        self.heads = Heads::new(&self.keys);
        self.live -= half.live;
        half
    }

    /// Adds the keys of the block after this one.
    fn join(&mut self, next: Self) {
        self.keys.extend(next.keys);
        self.chains.extend(next.chains);
        self.heads = Heads::new(&self.keys);
        self.live += next.live;
    }
}

fn is_live(chain: &Chain) -> bool {
    !chain.newest().is_deletion()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn version(mod_revision: u64, create_revision: u64) -> Version {
        Version { mod_revision, create_revision, version: 1, lease: 0, sub: 0, value: Bytes::new() }
    }

    fn key(number: u16) -> Bytes {
        format!("{:02}/{number:05}", number % 7).into()
    }

    fn check(index: &Index, model: &BTreeMap<Bytes, bool>) {
        let keys: Vec<_> = index.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(keys, model.keys().cloned().collect::<Vec<_>>());
        for range in [
            KeyRange::all(),
            KeyRange::prefix("03/"),
            KeyRange { start: "01/00300".into(), end: "05/00100".into() },
            KeyRange { start: "05".into(), end: "01".into() },
        ] {
            let inside = model.iter().filter(|(key, _)| range.contains(key));
            assert_eq!(index.live(&range), inside.clone().filter(|(_, live)| **live).count());
            let expected: Vec<_> = inside.map(|(key, _)| key.clone()).collect();
            let found: Vec<_> = index.range(&range, None).map(|(key, _)| key.clone()).collect();
            assert_eq!(found, expected);
            let after = key(301);
            let rest: Vec<_> =
                index.range(&range, Some(&after)).map(|(key, _)| key.clone()).collect();
            if range.contains(&after) {
                assert_eq!(
                    rest,
                    expected.into_iter().filter(|key| *key > after).collect::<Vec<_>>()
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
        #[test]
        fn the_index_is_a_sorted_map_that_counts(
            steps in prop::collection::vec((0..600u16, 0..7u8), 0..3000),
        ) {
            let (mut index, mut model) = (Index::default(), BTreeMap::new());
            for (revision, (number, action)) in (1..).zip(steps) {
                let key = key(number);
                match action {
                    0 | 1 => {
                        index.push(key.clone(), version(revision, revision));
                        model.insert(key, true);
                    }
                    2 => {
                        index.push(key.clone(), version(revision, 0));
                        model.insert(key, false);
                    }
                    3 => {
                        let before = index.replace(key.clone(), version(revision, revision));
                        assert_eq!(before.is_some(), model.insert(key, true).is_some());
                    }
                    4 => {
                        let before = index.remove(&key);
                        assert_eq!(before.is_some(), model.remove(&key).is_some());
                    }
                    _ => {
                        index.change(&key, |_| false);
                        model.remove(&key);
                    }
                }
            }
            check(&index, &model);
        }
    }

    #[test]
    fn keys_in_order_fill_their_blocks() {
        let mut index = Index::default();
        for number in 0..1000u16 {
            index.push(format!("{number:05}").into(), version(1, 1));
        }
        assert_eq!(index.blocks.len(), 1000usize.div_ceil(BLOCK_ENTRIES_MAX));
        for number in (0..1000u16).rev() {
            index.push(format!("{number:05}x").into(), version(1, 1));
        }
        assert!(index.blocks.iter().all(|block| block.chains.capacity() <= BLOCK_ENTRIES_MAX));
        for number in 0..1000u16 {
            index.change(format!("{number:05}x").as_bytes(), |_| false);
        }
        for number in 0..1000u16 {
            index.change(format!("{number:05}").as_bytes(), |_| false);
        }
        assert!(index.blocks.is_empty());
    }
}
