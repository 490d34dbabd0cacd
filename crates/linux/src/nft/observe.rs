//! Reading back what the kernel holds, to see whether somebody else changed it.
//!
//! Counts and keys only: comparing whole rules would mean to decode what the kernel may write differently.

use std::collections::BTreeMap;

use rustix::io::Errno;

use crate::netlink::{Attribute, MessageWriter, NetlinkError, attributes};

use super::batch::Nftables;
use super::constants::*;
use super::model::TableId;

/// Bytes of `struct nfgenmsg`.
const GENERIC_HEADER_BYTES: usize = 4;

/// How often the elements of a set are listed until two lists agree.
const MAX_ELEMENT_READS: usize = 32;

/// A chain as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedChain {
    /// How many rules it has.
    pub rules: usize,
    /// Whether the kernel enters it.
    pub is_base: bool,
}

/// An element as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObservedElement {
    /// The key's bytes.
    pub key: Vec<u8>,
    /// The bytes that it gives, in a map of values.
    pub data: Option<Vec<u8>>,
}

/// A table as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedTable {
    /// The chains by name.
    pub chains: BTreeMap<String, ObservedChain>,
    /// The named sets: how many elements each has.
    pub sets: BTreeMap<String, usize>,
}

impl Nftables {
    /// What `table` holds, or `None` when there is no such table. Elements of sets that rules write to are
    /// not counted.
    pub fn observe(&mut self, table: &TableId) -> Result<Option<ObservedTable>, NetlinkError> {
        if !self.has_table(table)? {
            return Ok(None);
        }
        let mut observed = ObservedTable { chains: self.chains(table)?, ..Default::default() };
        for chain in self.rule_chains(table)? {
            observed.chains.entry(chain).or_default().rules += 1;
        }
        for (name, flags) in self.sets(table)? {
            if flags & NFT_SET_ANONYMOUS != 0 {
                continue;
            }
            let count =
                if flags & NFT_SET_EVAL == 0 { self.elements(table, &name)?.len() } else { 0 };
            observed.sets.insert(name, count);
        }
        Ok(Some(observed))
    }

    /// The names of all tables.
    pub fn tables(&mut self) -> Result<Vec<TableId>, NetlinkError> {
        let mut found = Vec::new();
        self.socket.dump(
            kind(NFT_MSG_GETTABLE),
            |writer| writer.raw(&[0; 4]),
            |message| {
                let family = message.payload.first().copied();
                let family = family.and_then(super::model::Family::from_number);
                let name = attribute_text(message.payload, NFTA_TABLE_NAME);
                if let (Some(family), Some(name)) = (family, name) {
                    found.push(TableId { family, name });
                }
            },
        )?;
        Ok(found)
    }

    /// The elements of a set or map, those that rules wrote included.
    ///
    /// The kernel tells them in parts and finds its place again by counting, so a list that is read while the kernel
    /// moves its hash table names some twice and others not at all. Two lists in a row that agree and name nothing
    /// twice are taken as true.
    ///
    /// # Errors
    /// The kernel refused, or the set did not hold still for [`MAX_ELEMENT_READS`] lists.
    pub fn elements(
        &mut self,
        table: &TableId,
        set: &str,
    ) -> Result<Vec<ObservedElement>, NetlinkError> {
        let mut last = None;
        for _ in 0..MAX_ELEMENT_READS {
            let next = self.elements_once(table, set)?;
            let repeats = next.windows(2).any(|pair| pair[0] == pair[1]);
            if !repeats && last.as_ref() == Some(&next) {
                return Ok(next.into_iter().map(|(element, _)| element).collect());
            }
            last = Some(next);
        }
        Err(NetlinkError::Unsteady)
    }

    /// One list, sorted, each element with its flags: the end of a range may have the key of another's begin.
    fn elements_once(
        &mut self,
        table: &TableId,
        set: &str,
    ) -> Result<Vec<(ObservedElement, u32)>, NetlinkError> {
        let mut found = Vec::new();
        self.socket.dump(
            kind(NFT_MSG_GETSETELEM),
            |writer| {
                header(writer, table);
                writer.put_text(NFTA_SET_ELEM_LIST_TABLE, &table.name);
                writer.put_text(NFTA_SET_ELEM_LIST_SET, set);
            },
            |message| {
                let payload = message.payload.get(GENERIC_HEADER_BYTES..).unwrap_or_default();
                let list = attributes(payload)
                    .find(|attribute| attribute.kind == NFTA_SET_ELEM_LIST_ELEMENTS);
                found.extend(list.into_iter().flat_map(|list| list.nested()).filter_map(element));
            },
        )?;
        found.sort();
        Ok(found)
    }

    fn has_table(&mut self, table: &TableId) -> Result<bool, NetlinkError> {
        let outcome = self.socket.query(
            kind(NFT_MSG_GETTABLE),
            0,
            |writer| {
                header(writer, table);
                writer.put_text(NFTA_TABLE_NAME, &table.name);
            },
            |_| {},
        );
        match outcome {
            Ok(()) => Ok(true),
            Err(error) if error.refusal() == Some(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn chains(&mut self, table: &TableId) -> Result<BTreeMap<String, ObservedChain>, NetlinkError> {
        let mut found = BTreeMap::new();
        self.socket.dump(
            kind(NFT_MSG_GETCHAIN),
            |writer| header(writer, table),
            |message| {
                if attribute_text(message.payload, NFTA_CHAIN_TABLE).as_ref() != Some(&table.name) {
                    return;
                }
                if let Some(name) = attribute_text(message.payload, NFTA_CHAIN_NAME) {
                    let is_base = attribute_text(message.payload, NFTA_CHAIN_TYPE).is_some();
                    found.insert(name, ObservedChain { rules: 0, is_base });
                }
            },
        )?;
        Ok(found)
    }

    /// The chain of every rule of the table.
    fn rule_chains(&mut self, table: &TableId) -> Result<Vec<String>, NetlinkError> {
        let mut found = Vec::new();
        self.socket.dump(
            kind(NFT_MSG_GETRULE),
            |writer| {
                header(writer, table);
                writer.put_text(NFTA_RULE_TABLE, &table.name);
            },
            |message| {
                if attribute_text(message.payload, NFTA_RULE_TABLE).as_ref() == Some(&table.name) {
                    found.extend(attribute_text(message.payload, NFTA_RULE_CHAIN));
                }
            },
        )?;
        Ok(found)
    }

    fn sets(&mut self, table: &TableId) -> Result<Vec<(String, u32)>, NetlinkError> {
        let mut found = Vec::new();
        self.socket.dump(
            kind(NFT_MSG_GETSET),
            |writer| {
                header(writer, table);
                writer.put_text(NFTA_SET_TABLE, &table.name);
            },
            |message| {
                let payload = message.payload.get(GENERIC_HEADER_BYTES..).unwrap_or_default();
                let flags = attributes(payload)
                    .find(|attribute| attribute.kind == NFTA_SET_FLAGS)
                    .and_then(|attribute| attribute.be32())
                    .unwrap_or(0);
                found.extend(
                    attribute_text(message.payload, NFTA_SET_NAME).map(|name| (name, flags)),
                );
            },
        )?;
        Ok(found)
    }
}

/// An element and its flags.
fn element(attribute: Attribute<'_>) -> Option<(ObservedElement, u32)> {
    let part = |kind| attribute.nested().find(|part| part.kind == kind);
    let value = |kind| {
        let data = part(kind)?.nested().find(|data| data.kind == NFTA_DATA_VALUE)?;
        Some(data.value.to_vec())
    };
    let flags = part(NFTA_SET_ELEM_FLAGS).and_then(|flags| flags.be32()).unwrap_or(0);
    Some((
        ObservedElement { key: value(NFTA_SET_ELEM_KEY)?, data: value(NFTA_SET_ELEM_DATA) },
        flags,
    ))
}

fn kind(message: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | message
}

fn header(writer: &mut MessageWriter, table: &TableId) {
    writer.raw(&[table.family.number(), 0, 0, 0]);
}

pub(super) fn attribute_text(payload: &[u8], kind: u16) -> Option<String> {
    attributes(payload.get(GENERIC_HEADER_BYTES..)?)
        .find(|attribute| attribute.kind == kind)
        .map(|attribute| attribute.text())
}
