//! Objects besides nodes and pods that placement depends on, by name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Objects of one kind, keyed by namespace and name.
///
/// An object may be *assumed*: decided here, not yet seen back from the API. Assumed ones hide the
/// original until they are confirmed or reverted.
#[derive(Clone, Debug)]
pub struct Objects<K> {
    stored: BTreeMap<String, Arc<K>>,
    assumed: HashMap<String, Arc<K>>,
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self { stored: BTreeMap::new(), assumed: HashMap::new() }
    }
}

impl<K: Metadata<Ty = ObjectMeta>> Objects<K> {
    /// Adds or replaces an object, and drops what was assumed of it unless that is newer.
    pub fn set(&mut self, object: Arc<K>) {
        let key = key_of(object.metadata());
        let newer = self
            .assumed
            .get(&key)
            .is_some_and(|assumed| version(assumed.metadata()) > version(object.metadata()));
        if !newer {
            self.assumed.remove(&key);
        }
        self.stored.insert(key, object);
    }

    /// Removes an object.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        let key = key(namespace, name);
        self.stored.remove(&key);
        self.assumed.remove(&key);
    }

    /// The object, as assumed if it is.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        let key = key(namespace, name);
        self.assumed.get(&key).or_else(|| self.stored.get(&key))
    }

    /// Takes `object` for what will be, until the API says so.
    pub fn assume(&mut self, object: Arc<K>) {
        self.assumed.insert(key_of(object.metadata()), object);
    }

    /// Takes back an assumption.
    pub fn revert(&mut self, namespace: &str, name: &str) {
        self.assumed.remove(&key(namespace, name));
    }

    /// All objects, as assumed where they are, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<K>> {
        self.stored.iter().map(|(key, stored)| self.assumed.get(key).unwrap_or(stored))
    }

    /// The objects of one namespace.
    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<K>> {
        let prefix = key(namespace, "");
        self.stored
            .range(prefix.clone()..)
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .map(|(key, stored)| self.assumed.get(key).unwrap_or(stored))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

fn key_of(metadata: &ObjectMeta) -> String {
    key(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// Resource versions are compared as numbers, which the API has promised since v1.35 and always kept.
fn version(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
}
