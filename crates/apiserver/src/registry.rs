//! Which resources are served: the built-in table and, beside it, what definitions have added.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use api::resource::Resource;
use arc_swap::ArcSwap;
use schema::Schema;

use crate::by_place::ByPlace;
use crate::custom::{Conversion, ScalePaths};

/// What clients are told of the core group's deprecated resources.
const BUILT_IN_DEPRECATIONS: [(&str, &str); 2] = [
    ("componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"),
    ("endpoints", "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
];

/// An immutable table with its indexes.
#[derive(Debug, Default)]
pub struct Table {
    /// Counts the changes of the table.
    pub generation: u64,
    /// In the order of discovery.
    pub rows: Vec<Arc<Resource>>,
    /// The versions of each path.
    paths: ByPlace<Vec<Served>>,
    /// The row in storage form, by group and plural of the store.
    places: ByPlace<Arc<Resource>>,
    /// Webhooks that convert custom resources.
    conversions: ByPlace<Arc<Conversion>>,
}

/// A row with what is known of it.
#[derive(Debug)]
struct Served {
    row: Arc<Resource>,
    schema: OnceLock<Schema>,
    /// When it comes from a definition.
    custom: Option<CustomRow>,
}

/// A row that a definition adds, with its schema.
#[derive(Clone, Debug)]
pub struct CustomRow {
    /// The row.
    pub row: Arc<Resource>,
    /// Its objects' schema.
    pub schema: Schema,
    /// Where its objects keep their size, when they have a `scale`.
    pub(crate) scale: Option<ScalePaths>,
    /// The webhook that converts its objects, the same for all versions.
    pub(crate) conversion: Option<Arc<Conversion>>,
    /// What clients of the version are told when it is deprecated.
    pub(crate) deprecation: Option<String>,
    /// Set by the registry.
    pub(crate) stamp: u64,
}

impl Table {
    fn new(generation: u64, rows: Vec<Arc<Resource>>, custom: &[CustomRow]) -> Self {
        let mut table = Self { generation, ..Self::default() };
        for row in &rows {
            table.index(Served { row: Arc::clone(row), schema: OnceLock::new(), custom: None });
        }
        for custom in custom {
            let row = Arc::clone(&custom.row);
            if let Some(conversion) = &custom.conversion {
                let conversion = || Arc::clone(conversion);
                table.conversions.entry(&row.group, &row.plural, conversion);
            }
            let schema = custom.schema.clone().into();
            table.index(Served { row, schema, custom: Some(custom.clone()) });
        }
        table.rows = rows;
        table
    }

    fn index(&mut self, served: Served) {
        let row = &served.row;
        let place = self.places.entry(&row.storage_group, &row.storage_plural, || Arc::clone(row));
        if row.is_storage_form() {
            *place = Arc::clone(row);
        }
        let versions = self.paths.entry(&row.group, &row.plural, Vec::new);
        versions.retain(|have| have.row.version != row.version);
        versions.push(served);
    }

    fn served(&self, group: &str, version: &str, plural: &str) -> Option<&Served> {
        self.paths.get(group, plural)?.iter().find(|served| served.row.version == version)
    }

    fn custom(&self, row: &Resource) -> Option<&CustomRow> {
        self.served(&row.group, &row.version, &row.plural)?.custom.as_ref()
    }

    /// Tells a row from one that was there before in its place; 0 for built-in ones.
    pub(crate) fn stamp(&self, row: &Resource) -> u64 {
        self.custom(row).map_or(0, |custom| custom.stamp)
    }

    /// Whether a row comes from a definition.
    pub(crate) fn is_custom(&self, row: &Resource) -> bool {
        self.custom(row).is_some()
    }

    /// The schema of a custom resource's row.
    pub fn custom_schema(&self, row: &Resource) -> Option<Schema> {
        self.custom(row).map(|custom| custom.schema.clone())
    }

    /// What clients are told of a row that is deprecated.
    pub(crate) fn deprecation(&self, row: &Resource) -> Option<&str> {
        if row.group.is_empty() {
            return BUILT_IN_DEPRECATIONS
                .iter()
                .find(|(plural, _)| row.plural == *plural)
                .map(|(_, text)| *text);
        }
        self.custom(row)?.deprecation.as_deref()
    }

    /// Where a custom resource's objects keep their size.
    pub(crate) fn scale_paths(&self, row: &Resource) -> Option<&ScalePaths> {
        self.custom(row)?.scale.as_ref()
    }

    /// The webhook that converts the objects of a place in the store.
    pub(crate) fn conversion(&self, group: &str, plural: &str) -> Option<&Arc<Conversion>> {
        self.conversions.get(group, plural)
    }

    /// Brings a stored tree up to its definition as it is now: defaults of the storage version and, where the
    /// versions differ in nothing else, its name. A webhook's objects stay in the version they have.
    pub(crate) fn settle_stored(&self, row: &Resource, tree: &mut serde_json::Value) {
        let is_custom = matches!(row.strategy, api::resource::StrategyRef::Shared(_));
        if !is_custom || !tree.is_object() {
            return;
        }
        let stored_in = row.storage_api_version();
        if self.conversion(&row.storage_group, &row.storage_plural).is_none() {
            tree["apiVersion"] = stored_in.as_str().into();
        }
        if row.is_storage_form() && tree["apiVersion"] == stored_in.as_str() {
            row.strategy.default(tree);
        }
    }

    /// The schema of a row's objects; a kind that has none admits everything.
    pub fn schema(&self, row: &Resource) -> Schema {
        let built_in =
            || schema::for_kind(&row.group, &row.version, &row.kind).unwrap_or_else(Schema::any);
        match self.served(&row.group, &row.version, &row.plural) {
            Some(served) => served.schema.get_or_init(built_in).clone(),
            None => built_in(),
        }
    }

    /// The row for a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.served(group, version, plural).map(|served| &served.row)
    }

    /// The row for a kind.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let fits =
            |row: &&Arc<Resource>| row.group == group && row.version == version && row.kind == kind;
        self.rows.iter().find(fits)
    }

    /// The row in storage form for a place in the store.
    pub fn at_place(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.places.get(group, plural)
    }

    /// One row per place in the store: what exists, each once.
    pub fn places(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.places.iter().map(|(_, _, row)| row)
    }

    /// Groups with their versions, in the order of discovery.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for row in &self.rows {
            let at =
                groups.iter().position(|(group, _)| *group == row.group).unwrap_or_else(|| {
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

/// The built-in rows that are served without being asked for.
fn built_in() -> Vec<Arc<Resource>> {
    api::kinds::all().iter().filter(|row| !row.off_by_default).cloned().collect()
}

/// The table as it is now; readers take a snapshot and never wait.
#[derive(Debug)]
pub struct Registry {
    table: ArcSwap<Table>,
    custom: parking_lot::Mutex<BTreeMap<String, (String, Vec<CustomRow>)>>,
    /// The table's generation.
    changes: tokio::sync::watch::Sender<u64>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::new(1, built_in(), &[])),
            custom: parking_lot::Mutex::default(),
            changes: tokio::sync::watch::Sender::new(1),
        }
    }
}

impl Registry {
    /// The present table.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// A receiver that is marked changed when the table has changed.
    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The definitions that have rows.
    pub fn custom_names(&self) -> Vec<String> {
        self.custom.lock().keys().cloned().collect()
    }

    /// The version of a definition whose rows are in the table.
    pub fn custom_version(&self, name: &str) -> Option<String> {
        self.custom.lock().get(name).map(|(version, _)| version.clone())
    }

    /// Sets (or, with no rows, removes) what one version of the definition `name` adds.
    pub fn set_custom(&self, name: &str, version: &str, mut rows: Vec<CustomRow>) {
        let mut custom = self.custom.lock();
        let generation = self.table.load().generation + 1;
        for row in &mut rows {
            row.stamp = generation;
        }
        if rows.is_empty() {
            custom.remove(name);
        } else {
            custom.insert(name.to_owned(), (version.to_owned(), rows));
        }
        let added: Vec<CustomRow> = custom.values().flat_map(|(_, rows)| rows).cloned().collect();
        let mut all = built_in();
        all.extend(added.iter().map(|custom| Arc::clone(&custom.row)));
        self.table.store(Arc::new(Table::new(generation, all, &added)));
        self.changes.send_replace(generation);
    }
}
