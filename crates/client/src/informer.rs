//! A typed, live cache of objects.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use api::object::Object;
use futures::StreamExt as _;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::source::{Source, Update, WatchScope};

/// A kind that an informer can hold.
pub trait Kind:
    kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}

impl<K> Kind for K where
    K: kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}

/// What happened to one object, as told to a handler.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// New to the cache.
    Added(Arc<K>),
    /// Replaced by a newer version.
    Updated {
        /// The version before.
        old: Arc<K>,
        /// The version now.
        new: Arc<K>,
    },
    /// Gone; the last state known.
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// The newest state known of the object.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Deleted(object) | Self::Updated { new: object, .. } => {
                object
            }
        }
    }
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;
type Key = (Box<str>, Box<str>);

struct Entry<K> {
    object: Arc<K>,
    revision: u64,
}

struct Shared<K> {
    objects: RwLock<BTreeMap<Key, Entry<K>>>,
    handlers: RwLock<Vec<Handler<K>>>,
    generation: watch::Sender<u64>,
}

/// The cache; cheap to clone, shared by all clones. It starts empty: wait for [`Informer::synced`]
/// before acting on the absence of an object.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K> Debug for Informer<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Informer<{}>", std::any::type_name::<K>())
    }
}

impl<K: Kind> Informer<K> {
    pub(crate) fn start(source: Arc<dyn Source>, watched: WatchScope, scope: &task::Scope) -> Self {
        let informer = Self {
            shared: Arc::new(Shared {
                objects: RwLock::default(),
                handlers: RwLock::default(),
                generation: watch::Sender::new(0),
            }),
        };
        let feeding = informer.clone();
        scope.spawn_until_cancelled("informer", async move {
            let mut updates = source.watch(watched);
            while let Some(update) = updates.next().await {
                feeding.take(update);
            }
        });
        informer
    }

    /// One object; `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let key: Key = (namespace.into(), name.into());
        self.shared.objects.read().get(&key).map(|entry| Arc::clone(&entry.object))
    }

    /// All objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.objects.read().values().map(|entry| Arc::clone(&entry.object)).collect()
    }

    /// The objects of one namespace, ordered by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let first: Key = (namespace.into(), "".into());
        let objects = self.shared.objects.read();
        let from_first = objects.range(first..);
        from_first
            .take_while(|((have, _), _)| **have == *namespace)
            .map(|(_, entry)| Arc::clone(&entry.object))
            .collect()
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.shared.objects.read().len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resolves when the first complete list has arrived.
    pub async fn synced(&self) {
        let mut generation = self.shared.generation.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _never_closed = generation.wait_for(|generation| *generation > 0).await;
    }

    /// Whether the first complete list has arrived.
    pub fn is_synced(&self) -> bool {
        *self.shared.generation.borrow() > 0
    }

    /// A receiver that is marked changed after every change; its value counts them.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }

    /// Calls `handler` for every object there is (as added) and for every later change, in order. It
    /// must be quick and must not call back into the informer's `on_change`: queue the work.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.write();
        for entry in self.shared.objects.read().values() {
            handler(&Change::Added(Arc::clone(&entry.object)));
        }
        handlers.push(Box::new(handler));
    }

    fn take(&self, update: Update) {
        let handlers = self.shared.handlers.read();
        let tell = |change: Change<K>| {
            for handler in handlers.iter() {
                handler(&change);
            }
        };
        match update {
            Update::Applied(object) => self.apply(&object, &tell),
            Update::Deleted(object) => self.delete(&object, &tell),
            Update::Reset(objects) => self.reset(&objects, &tell),
        }
        self.shared.generation.send_modify(|generation| *generation += 1);
    }

    fn apply(&self, object: &Arc<Object>, tell: &impl Fn(Change<K>)) {
        let Some(typed) = decode::<K>(object) else { return };
        let key: Key = (object.namespace.clone(), object.name.clone());
        let entry = Entry { object: Arc::clone(&typed), revision: object.revision };
        let previous = self.shared.objects.write().insert(key, entry);
        tell(match previous {
            None => Change::Added(typed),
            Some(previous) => Change::Updated { old: previous.object, new: typed },
        });
    }

    fn delete(&self, object: &Arc<Object>, tell: &impl Fn(Change<K>)) {
        let key: Key = (object.namespace.clone(), object.name.clone());
        let previous = self.shared.objects.write().remove(&key);
        if let Some(previous) = previous {
            tell(Change::Deleted(decode::<K>(object).unwrap_or(previous.object)));
        }
    }

    fn reset(&self, objects: &[Arc<Object>], tell: &impl Fn(Change<K>)) {
        let mut gone: Vec<Key> = Vec::new();
        {
            let fresh: std::collections::HashSet<(&str, &str)> =
                objects.iter().map(|object| (&*object.namespace, &*object.name)).collect();
            let known = self.shared.objects.read();
            gone.extend(known.keys().filter(|(ns, name)| !fresh.contains(&(ns, name))).cloned());
        }
        for key in gone {
            let previous = self.shared.objects.write().remove(&key);
            if let Some(previous) = previous {
                tell(Change::Deleted(previous.object));
            }
        }
        for object in objects {
            let key: Key = (object.namespace.clone(), object.name.clone());
            let known = self.shared.objects.read().get(&key).map(|entry| entry.revision);
            if known != Some(object.revision) {
                self.apply(object, tell);
            }
        }
    }
}

fn decode<K: Kind>(object: &Arc<Object>) -> Option<Arc<K>> {
    match object.typed::<K>() {
        Ok(typed) => Some(typed),
        Err(error) => {
            tracing::error!(?object, kind = std::any::type_name::<K>(), %error, "cannot decode an object");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::object;
    use futures::stream::BoxStream;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;
    use std::time::Duration;
    use tokio::sync::mpsc;

    struct Scripted(parking_lot::Mutex<Option<mpsc::Receiver<Update>>>);

    impl Source for Scripted {
        fn watch(&self, _: WatchScope) -> BoxStream<'static, Update> {
            let mut updates = self.0.lock().take().unwrap();
            futures::stream::poll_fn(move |context| updates.poll_recv(context)).boxed()
        }
    }

    fn map(name: &str, revision: u64) -> Arc<Object> {
        let value = json!({"kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "n", "uid": name}});
        Arc::new(Object::new(&value, object::encode(&value), Vec::new(), revision))
    }

    fn line(change: &Change<ConfigMap>) -> String {
        let verb = match change {
            Change::Added(_) => "added",
            Change::Updated { .. } => "updated",
            Change::Deleted(_) => "deleted",
        };
        let metadata = &change.object().metadata;
        let name = metadata.name.as_deref().unwrap();
        format!("{verb} {name}@{}", metadata.resource_version.as_deref().unwrap())
    }

    #[tokio::test]
    async fn changes_are_told_in_order_and_a_reset_tells_only_the_difference() {
        let scope = task::Scope::new();
        let (updates, receiver) = mpsc::channel(16);
        let source = Arc::new(Scripted(parking_lot::Mutex::new(Some(receiver))));
        let informer: Informer<ConfigMap> =
            Informer::start(source, WatchScope::all::<ConfigMap>(), &scope);
        let log: Arc<parking_lot::Mutex<Vec<String>>> = Arc::default();
        let writer = Arc::clone(&log);
        informer.on_change(move |change| writer.lock().push(line(change)));
        for update in [
            Update::Reset(vec![map("a", 1), map("b", 2)]),
            Update::Applied(map("a", 3)),
            Update::Deleted(map("b", 4)),
            Update::Reset(vec![map("a", 3), map("c", 5)]),
            Update::Reset(vec![]),
        ] {
            updates.send(update).await.unwrap();
        }
        let mut changed = informer.changed();
        changed.wait_for(|generation| *generation == 5).await.unwrap();
        let expected = [
            "added a@1",
            "added b@2",
            "updated a@3",
            "deleted b@4",
            "added c@5",
            "deleted a@3",
            "deleted c@5",
        ];
        assert_eq!(*log.lock(), expected);
        assert!(informer.is_empty());
        assert!(scope.finish(Duration::from_secs(1)).await);
    }
}
