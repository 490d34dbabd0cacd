//! Which resources are served: the built-in table and, beside it, what definitions have added.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::resource::Resource;
use arc_swap::ArcSwap;

/// Group, version and plural.
type Key = (String, String, String);

/// An immutable table with its indexes.
#[derive(Debug, Default)]
pub struct Table {
    /// In the order of discovery.
    pub rows: Vec<Arc<Resource>>,
    by_path: HashMap<Key, Arc<Resource>>,
    /// The row in storage form, by group and plural of the store.
    by_place: HashMap<(String, String), Arc<Resource>>,
}

impl Table {
    fn new(rows: Vec<Arc<Resource>>) -> Self {
        let mut table = Self::default();
        for row in &rows {
            let key = (row.group.to_string(), row.version.to_string(), row.plural.to_string());
            table.by_path.insert(key, Arc::clone(row));
            let place = (row.storage_group.to_string(), row.storage_plural.to_string());
            if row.is_storage_form() {
                table.by_place.insert(place, Arc::clone(row));
            } else {
                table.by_place.entry(place).or_insert_with(|| Arc::clone(row));
            }
        }
        table.rows = rows;
        table
    }

    /// The row for a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_path.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// The row for a kind.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let fits = |row: &&Arc<Resource>| row.group == group && row.version == version && row.kind == kind;
        self.rows.iter().find(fits)
    }

    /// The row in storage form for a place in the store.
    pub fn at_place(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_place.get(&(group.to_owned(), plural.to_owned()))
    }

    /// One row per place in the store: what exists, each once.
    pub fn places(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.by_place.values()
    }

    /// Groups with their versions, in the order of discovery.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for row in &self.rows {
            let at = groups.iter().position(|(group, _)| *group == row.group).unwrap_or_else(|| {
                groups.push((row.group.to_string(), Vec::new()));
                groups.len() - 1
            });
            let versions = &mut groups[at].1;
            if !versions.iter().any(|have| *have == row.version) {
                versions.push(row.version.to_string());
            }
        }
        groups
    }
}

/// The table as it is now; readers take a snapshot and never wait.
#[derive(Debug)]
pub struct Registry {
    table: ArcSwap<Table>,
    custom: parking_lot::Mutex<BTreeMap<String, Vec<Arc<Resource>>>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::new(api::kinds::all().to_vec())),
            custom: parking_lot::Mutex::default(),
        }
    }
}

impl Registry {
    /// The present table.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Sets (or, with no rows, removes) what the definition `name` adds.
    pub fn set_custom(&self, name: &str, rows: Vec<Arc<Resource>>) {
        let mut custom = self.custom.lock();
        if rows.is_empty() {
            custom.remove(name);
        } else {
            custom.insert(name.to_owned(), rows);
        }
        let mut all = api::kinds::all().to_vec();
        all.extend(custom.values().flatten().cloned());
        self.table.store(Arc::new(Table::new(all)));
    }
}
