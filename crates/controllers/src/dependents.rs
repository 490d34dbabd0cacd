//! An index of objects by their controller, so that finding an owner's own costs no scan.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use client::{Change, Informer, Kind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use parking_lot::RwLock;
use reconcile::pods::{controller_of, uid};

use crate::kinds::{name_of, namespace_of};

struct State<K> {
    by_owner: HashMap<String, BTreeMap<String, Arc<K>>>,
    orphans: HashMap<String, BTreeMap<String, Arc<K>>>,
}

/// Objects of kind `K` whose controller is of one kind, and those without a controller.
pub(crate) struct Dependents<K> {
    state: Arc<RwLock<State<K>>>,
}

impl<K> Clone for Dependents<K> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

/// A change, with what it means for owners.
pub(crate) struct Seen<'a, K> {
    pub(crate) change: &'a Change<K>,
    /// Controllers of the followed kind, before and after.
    pub(crate) owners: Vec<&'a OwnerReference>,
    /// Whether the object has no controller now, and is new, changed its labels or just lost it.
    pub(crate) orphan: bool,
}

impl<K: Kind> Seen<'_, K> {
    /// The object.
    pub(crate) fn object(&self) -> &K {
        self.change.object()
    }

    /// Whether the object is gone or going.
    pub(crate) fn going(&self) -> bool {
        matches!(self.change, Change::Deleted(_))
            || self.object().meta().deletion_timestamp.is_some()
    }
}

/// Indexes an informer's objects by controllers of `kind` (in API group `group`), and tells each change.
pub(crate) fn follow<K: Kind>(
    informer: &Informer<K>,
    group: &'static str,
    kind: &'static str,
    tell: impl Fn(&Seen<'_, K>) + Send + Sync + 'static,
) -> Dependents<K> {
    let state = State { by_owner: HashMap::new(), orphans: HashMap::new() };
    let dependents = Dependents { state: Arc::new(RwLock::new(state)) };
    let index = dependents.clone();
    informer.on_change(move |change| {
        let owner_in = |metadata: &ObjectMeta| {
            controller_of(metadata).filter(|owner| is_of(owner, group, kind)).cloned()
        };
        let new = change.object();
        let is_gone = matches!(change, Change::Deleted(_));
        let mut owners = Vec::new();
        if let Change::Updated { old, .. } = change
            && let Some(owner) = owner_in(old.meta())
            && Some(&owner.uid) != owner_in(new.meta()).map(|owner| owner.uid).as_ref()
        {
            index.remove(&owner.uid, new);
            owners.push(owner);
        }
        let owner = owner_in(new.meta());
        let is_orphan = controller_of(new.meta()).is_none() && !is_gone;
        index.place(owner.as_ref(), is_orphan, is_gone, new);
        owners.extend(owner);
        let orphan = is_orphan && is_news(change);
        tell(&Seen { change, owners: owners.iter().collect(), orphan });
    });
    dependents
}

fn is_of(owner: &OwnerReference, group: &str, kind: &str) -> bool {
    let have = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    owner.kind == kind && have == group
}

fn is_news<K: Kind>(change: &Change<K>) -> bool {
    match change {
        Change::Updated { old, new } => {
            old.meta().labels != new.meta().labels || controller_of(old.meta()).is_some()
        }
        _ => true,
    }
}

impl<K: Kind> Dependents<K> {
    fn remove(&self, owner: &str, object: &Arc<K>) {
        let mut state = self.state.write();
        let Some(owned) = state.by_owner.get_mut(owner) else { return };
        owned.remove(&name_of(&**object));
        if owned.is_empty() {
            state.by_owner.remove(owner);
        }
    }

    fn place(
        &self,
        owner: Option<&OwnerReference>,
        is_orphan: bool,
        is_gone: bool,
        object: &Arc<K>,
    ) {
        let (namespace, name) = (namespace_of(&**object), name_of(&**object));
        if let Some(owner) = owner {
            if is_gone {
                self.remove(&owner.uid, object);
            } else {
                let mut state = self.state.write();
                let owned = state.by_owner.entry(owner.uid.clone()).or_default();
                owned.insert(name.clone(), Arc::clone(object));
            }
        }
        let mut state = self.state.write();
        if is_orphan {
            state.orphans.entry(namespace).or_default().insert(name, Arc::clone(object));
        } else if let Some(orphans) = state.orphans.get_mut(&namespace) {
            orphans.remove(&name);
            if orphans.is_empty() {
                state.orphans.remove(&namespace);
            }
        }
    }

    /// The objects whose controller is `owner`, ordered by name.
    pub(crate) fn of(&self, owner: &ObjectMeta) -> Vec<Arc<K>> {
        let state = self.state.read();
        state.by_owner.get(uid(owner)).into_iter().flat_map(|all| all.values().cloned()).collect()
    }

    /// The owner's objects, and those without a controller in its namespace.
    pub(crate) fn candidates(&self, owner: &ObjectMeta) -> Vec<Arc<K>> {
        let mut all = self.of(owner);
        let namespace = owner.namespace.as_deref().unwrap_or_default();
        let state = self.state.read();
        all.extend(state.orphans.get(namespace).into_iter().flat_map(|o| o.values().cloned()));
        all
    }
}
