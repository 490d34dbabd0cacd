//! Which domain of a topology key each node is in, as columns of small numbers.
//!
//! A key is any node label that constraints or affinity terms name. Counting pods per domain is then
//! adding to an array instead of looking strings up for every node.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    labels::Labels,
    limits::TOPOLOGY_COLUMNS_MAX,
    node::{NodeInfo, Slot},
};

/// Where a node without the label is.
pub(crate) const NO_DOMAIN: u32 = u32::MAX;

/// One topology key over all nodes.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    key: Arc<str>,
    domains: HashMap<Arc<str>, u32>,
    by_slot: Vec<u32>,
}

impl Column {
    fn new(key: Arc<str>) -> Self {
        Self { key, domains: HashMap::new(), by_slot: Vec::new() }
    }

    /// The domain of the node in `slot`, [`NO_DOMAIN`] when it has no such label.
    pub(crate) fn domain(&self, slot: Slot) -> u32 {
        self.by_slot.get(slot.index()).copied().unwrap_or(NO_DOMAIN)
    }

    /// One more than the largest domain number.
    pub(crate) fn size(&self) -> usize {
        self.domains.len()
    }

    fn place(&mut self, slot: Slot, labels: &Labels) {
        let domain = match labels.get(&*self.key) {
            None => NO_DOMAIN,
            Some(value) => {
                // Domains are numbered as they appear; a u32 outlasts any number of nodes.
                let next = u32::try_from(self.domains.len()).unwrap_or(NO_DOMAIN);
                match self.domains.get(value.as_str()) {
                    Some(domain) => *domain,
                    None => *self.domains.entry(Arc::from(value.as_str())).or_insert(next),
                }
            }
        };
        if self.by_slot.len() <= slot.index() {
            self.by_slot.resize(slot.index() + 1, NO_DOMAIN);
        }
        self.by_slot[slot.index()] = domain;
    }
}

/// All keys that are in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topology {
    columns: BTreeMap<Arc<str>, Column>,
}

impl Topology {
    /// Makes a column for `key` unless there is one, or there are too many.
    pub(crate) fn register<'a>(&mut self, key: &str, nodes: impl Iterator<Item = &'a NodeInfo>) {
        if !self.columns.contains_key(key) && self.columns.len() < TOPOLOGY_COLUMNS_MAX {
            let column = build(key, nodes);
            self.columns.insert(Arc::clone(&column.key), column);
        }
    }

    /// The column for `key`, built on the spot when it was never registered.
    pub(crate) fn column<'s, 'a>(
        &'s self,
        key: &str,
        nodes: impl Iterator<Item = &'a NodeInfo>,
    ) -> Cow<'s, Column> {
        match self.columns.get(key) {
            Some(column) => Cow::Borrowed(column),
            None => Cow::Owned(build(key, nodes)),
        }
    }

    /// Notes the labels of a new or changed node.
    pub(crate) fn place(&mut self, slot: Slot, labels: &Labels) {
        for column in self.columns.values_mut() {
            column.place(slot, labels);
        }
    }

    /// Forgets a node.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.place(slot, &Labels::new());
    }

    /// Builds columns anew that are full of domains that no node has any more.
    pub(crate) fn compact<'a, N>(&mut self, nodes: impl Fn() -> N)
    where
        N: Iterator<Item = &'a NodeInfo>,
    {
        for column in self.columns.values_mut() {
            if column.size() > 2 * column.by_slot.len() + 16 {
                *column = build(&column.key, nodes());
            }
        }
    }
}

fn build<'a>(key: &str, nodes: impl Iterator<Item = &'a NodeInfo>) -> Column {
    let mut column = Column::new(Arc::from(key));
    for node in nodes {
        column.place(node.slot, node.labels());
    }
    column
}
