//! The config maps and secrets that pods of this node refer to: each is watched as long as a pod needs
//! it, and no others are.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use client::{Client, Informer, WatchScope};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use parking_lot::Mutex;
use podlife::env::Referenced;
use podlife::pod;

use crate::limits::REFERENCE_WAIT;

/// An object that a pod refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reference {
    ConfigMap(String),
    Secret(String),
}

/// Could not be watched in time.
#[derive(Debug, thiserror::Error)]
#[error("failed to sync {0} cache: timed out waiting for the condition")]
pub(crate) struct NotSynced(&'static str);

#[derive(Clone)]
enum Watched {
    ConfigMap(Informer<ConfigMap>),
    Secret(Informer<Secret>),
}

struct Entry {
    watched: Watched,
    scope: task::Scope,
    users: BTreeSet<String>,
}

type Wake = Box<dyn Fn(&str) + Send + Sync>;

struct Shared {
    entries: Mutex<HashMap<(String, Reference), Entry>>,
    wake: Wake,
}

/// See the module's text; cheap to clone.
#[derive(Clone)]
pub(crate) struct References {
    client: Client,
    scope: task::Scope,
    shared: Arc<Shared>,
}

impl References {
    /// `wake` is called with the UID of every pod that uses an object that changed.
    pub(crate) fn new(
        client: Client,
        scope: task::Scope,
        wake: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared { entries: Mutex::default(), wake: Box::new(wake) };
        Self { client, scope, shared: Arc::new(shared) }
    }

    /// Watches what `uid` needs, and no longer what it does not.
    pub(crate) fn set(&self, namespace: &str, uid: &str, needed: &BTreeSet<Reference>) {
        let mut entries = self.shared.entries.lock();
        for reference in needed {
            let key = (namespace.to_owned(), reference.clone());
            let entry = entries.entry(key).or_insert_with(|| self.watch(namespace, reference));
            entry.users.insert(uid.to_owned());
        }
        entries.retain(|(home, reference), entry| {
            if home == namespace && !needed.contains(reference) {
                entry.users.remove(uid);
            }
            if entry.users.is_empty() {
                entry.scope.cancel();
            }
            !entry.users.is_empty()
        });
    }

    fn watch(&self, namespace: &str, reference: &Reference) -> Entry {
        let scope = self.scope.child();
        let client = Client::new(self.client.kube(), self.client.source(), scope.clone());
        let shared = Arc::downgrade(&self.shared);
        let key = (namespace.to_owned(), reference.clone());
        let name = match reference {
            Reference::ConfigMap(name) | Reference::Secret(name) => name,
        };
        let fields = format!("metadata.name={name}");
        let watched = match reference {
            Reference::ConfigMap(_) => {
                let watched = WatchScope::all::<ConfigMap>().namespace(namespace).fields(fields);
                let informer = client.informer_of::<ConfigMap>(watched);
                wake_on_change(&scope, informer.changed(), shared, key);
                Watched::ConfigMap(informer)
            }
            Reference::Secret(_) => {
                let watched = WatchScope::all::<Secret>().namespace(namespace).fields(fields);
                let informer = client.informer_of::<Secret>(watched);
                wake_on_change(&scope, informer.changed(), shared, key);
                Watched::Secret(informer)
            }
        };
        Entry { watched, scope, users: BTreeSet::new() }
    }

    /// Everything of `needed` that exists, once all of it is watched.
    pub(crate) async fn fetch(
        &self,
        namespace: &str,
        needed: &BTreeSet<Reference>,
    ) -> Result<Referenced, NotSynced> {
        let mut found = Referenced::default();
        for reference in needed {
            let key = (namespace.to_owned(), reference.clone());
            let watched = self.shared.entries.lock().get(&key).map(|entry| entry.watched.clone());
            match (watched, reference) {
                (Some(Watched::ConfigMap(informer)), Reference::ConfigMap(name)) => {
                    synced(informer.synced(), "configmap").await?;
                    found.config_maps.extend(entry(informer.get(namespace, name), name));
                }
                (Some(Watched::Secret(informer)), Reference::Secret(name)) => {
                    synced(informer.synced(), "secret").await?;
                    found.secrets.extend(entry(informer.get(namespace, name), name));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

fn entry<K>(object: Option<Arc<K>>, name: &str) -> Option<(String, Arc<K>)> {
    object.map(|object| (name.to_owned(), object))
}

async fn synced(wait: impl Future<Output = ()>, kind: &'static str) -> Result<(), NotSynced> {
    tokio::time::timeout(REFERENCE_WAIT, wait).await.map_err(|_| NotSynced(kind))
}

fn wake_on_change(
    scope: &task::Scope,
    mut changed: tokio::sync::watch::Receiver<u64>,
    shared: Weak<Shared>,
    key: (String, Reference),
) {
    scope.spawn_until_cancelled("watch of a reference", async move {
        while changed.changed().await.is_ok() {
            let Some(shared) = shared.upgrade() else { return };
            let users = shared.entries.lock().get(&key).map(|entry| entry.users.clone());
            let Some(users) = users else { return };
            for uid in users {
                (shared.wake)(&uid);
            }
        }
    });
}

/// Everything that the environment, the volumes and the image pulls of a pod refer to.
pub(crate) fn of_pod(pod: &Pod) -> BTreeSet<Reference> {
    let mut all = BTreeSet::new();
    let spec = pod::spec(pod);
    for reference in pod::references(pod) {
        if let Some(container) = pod::container(pod, reference) {
            of_environment(&container, &mut all);
        }
    }
    for volume in spec.volumes.iter().flatten() {
        if let Some(name) = volume.config_map.as_ref().map(|source| &source.name) {
            all.insert(Reference::ConfigMap(name.clone()));
        }
        if let Some(name) = volume.secret.as_ref().and_then(|it| it.secret_name.as_ref()) {
            all.insert(Reference::Secret(name.clone()));
        }
        let projected = volume.projected.iter().flat_map(|it| it.sources.iter().flatten());
        for source in projected {
            if let Some(map) = &source.config_map {
                all.insert(Reference::ConfigMap(map.name.clone()));
            }
            if let Some(secret) = &source.secret {
                all.insert(Reference::Secret(secret.name.clone()));
            }
        }
    }
    for secret in spec.image_pull_secrets.iter().flatten() {
        all.insert(Reference::Secret(secret.name.clone()));
    }
    all
}

fn of_environment(container: &Container, all: &mut BTreeSet<Reference>) {
    for source in container.env_from.iter().flatten() {
        let map = source.config_map_ref.iter().map(|it| Reference::ConfigMap(it.name.clone()));
        let secret = source.secret_ref.iter().map(|it| Reference::Secret(it.name.clone()));
        all.extend(map.chain(secret));
    }
    let sources = container.env.iter().flatten().filter_map(|it| it.value_from.as_ref());
    for source in sources {
        all.extend(of_source(source));
    }
}

fn of_source(source: &EnvVarSource) -> Option<Reference> {
    let map = source.config_map_key_ref.as_ref().map(|it| Reference::ConfigMap(it.name.clone()));
    map.or_else(|| source.secret_key_ref.as_ref().map(|it| Reference::Secret(it.name.clone())))
}

/// The pull secrets of a pod, as far as they exist.
pub(crate) fn pull_secrets(pod: &Pod, found: &Referenced) -> Vec<Arc<Secret>> {
    let names = pod::spec(pod).image_pull_secrets.iter().flatten();
    names.filter_map(|it| found.secrets.get(&it.name).cloned()).collect()
}
