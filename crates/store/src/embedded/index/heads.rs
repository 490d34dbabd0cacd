//! Searching a sorted list of keys without looking at the keys.
//!
//! Keys lie anywhere in memory, and looking at twenty of them for one search is what searching costs. They
//! also begin alike. So the list keeps the length of the beginning that all keys share, and of each key
//! the few bytes after it, side by side; a key itself is looked at only where those bytes are equal.

use std::cmp::Ordering;

use bytes::Bytes;

/// The first bytes of each key of a sorted list, after what all of them share.
#[derive(Debug, Default)]
pub(super) struct Heads<const N: usize> {
    shared: usize,
    heads: Vec<[u8; N]>,
}

impl<const N: usize> Heads<N> {
    /// The heads of `keys`.
    pub(super) fn new(keys: &[Bytes]) -> Self {
        // In a sorted list the first and the last key differ the earliest.
        let shared = match (keys.first(), keys.last()) {
            (Some(first), Some(last)) => common(first, last),
            _ => 0,
        };
        Self { shared, heads: keys.iter().map(|key| head(key, shared)).collect() }
    }

    /// Where `key` is in `keys`, whose heads these are, or in `Err` where it belongs.
    pub(super) fn search(&self, keys: &[Bytes], key: &[u8]) -> Result<usize, usize> {
        let Some(first) = keys.first() else { return Err(0) };
        let compared = self.shared.min(key.len());
        match key[..compared].cmp(&first[..compared]) {
            Ordering::Less => return Err(0),
            Ordering::Greater => return Err(keys.len()),
            // Shorter than what all share: before all.
            Ordering::Equal if key.len() < self.shared => return Err(0),
            Ordering::Equal => {}
        }
        let wanted = head(key, self.shared);
        let (mut low, mut high) = (0, keys.len());
        while low < high {
            let middle = low.midpoint(high);
            let order =
                self.heads[middle].cmp(&wanted).then_with(|| keys[middle].as_ref().cmp(key));
            match order {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Follows the insertion of `keys[at]`.
    pub(super) fn insert(&mut self, keys: &[Bytes], at: usize) {
        let other = if at == 0 { keys.last() } else { keys.first() };
        let shared = other.map_or(0, |other| common(other, &keys[at]));
        if keys.len() <= 2 || shared < self.shared {
            *self = Self::new(keys);
        } else {
            self.heads.insert(at, head(&keys[at], self.shared));
        }
    }

    /// Follows the replacement of `keys[at]` by another key that belongs there.
    pub(super) fn replace(&mut self, keys: &[Bytes], at: usize) {
        let other = if at == 0 { keys.last() } else { keys.first() };
        let shared = other.map_or(0, |other| common(other, &keys[at]));
        if keys.len() <= 2 || shared < self.shared {
            *self = Self::new(keys);
        } else {
            self.heads[at] = head(&keys[at], self.shared);
        }
    }

    /// Follows the removal of the key at `at`.
    pub(super) fn remove(&mut self, at: usize) {
        self.heads.remove(at);
    }
}

fn common(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

/// The bytes after `shared`, filled up with zeros: heads that differ are in the order of their keys.
fn head<const N: usize>(key: &[u8], shared: usize) -> [u8; N] {
    let rest = key.get(shared..).unwrap_or_default();
    let mut head = [0; N];
    let length = rest.len().min(N);
    head[..length].copy_from_slice(&rest[..length]);
    head
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn searching_finds_what_a_plain_search_finds(
            keys in prop::collection::btree_set("[ab\u{0}]{0,7}", 0..40),
            added in prop::collection::vec("[ab\u{0}c]{0,7}", 1..40),
        ) {
            let mut keys: Vec<Bytes> = keys.into_iter().map(Bytes::from).collect();
            let mut heads = Heads::<3>::new(&keys);
            for key in added.into_iter().map(Bytes::from) {
                let plain = keys.binary_search(&key);
                prop_assert_eq!(heads.search(&keys, &key), plain);
                match plain {
                    Ok(at) => {
                        keys.remove(at);
                        heads.remove(at);
                    }
                    Err(at) if at < keys.len() && key.len() % 2 == 0 => {
                        keys[at] = key;
                        heads.replace(&keys, at);
                    }
                    Err(at) => {
                        keys.insert(at, key);
                        heads.insert(&keys, at);
                    }
                }
            }
        }
    }
}
