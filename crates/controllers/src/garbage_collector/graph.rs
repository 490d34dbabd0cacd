//! Who owns whom, by UID.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api::object::Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Deserialize;

use crate::dynamic::Found;

/// What the collector must know of an object.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) uid: String,
    pub(super) resource: Arc<Found>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) finalizers: Vec<String>,
    pub(super) deleting: bool,
}

impl Node {
    pub(super) fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|have| have == finalizer)
    }

    pub(super) fn path(&self) -> String {
        self.resource.path(&self.namespace, &self.name)
    }
}

#[derive(Deserialize)]
struct Partial {
    metadata: ObjectMeta,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
    /// Owner to dependents; the owner need not be known.
    dependents: HashMap<String, HashSet<String>>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<Node> {
        self.nodes.get(uid).cloned()
    }

    /// The UIDs of an owner's dependents.
    pub(super) fn dependents(&self, uid: &str) -> Vec<String> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Whether an object has dependents that it must wait for.
    pub(super) fn has_blocking_dependents(&self, uid: &str) -> bool {
        self.dependents(uid).iter().filter_map(|dependent| self.nodes.get(dependent)).any(|node| {
            node.owners.iter().any(|o| o.uid == uid && o.block_owner_deletion == Some(true))
        })
    }

    /// Whether a dependent itself waits, in foreground deletion, for its own dependents.
    pub(super) fn has_waiting_dependents(&self, uid: &str) -> bool {
        let dependents = self.dependents(uid);
        let mut known = dependents.iter().filter_map(|dependent| self.nodes.get(dependent));
        known.any(|node| node.deleting && node.has_finalizer(reconcile::ownership::FOREGROUND))
    }

    /// Takes an object in; the UIDs to look at.
    pub(super) fn apply(&mut self, resource: &Arc<Found>, object: &Object) -> Vec<String> {
        let Ok(Partial { metadata }) = object.decode::<Partial>() else { return Vec::new() };
        let uid = object.uid.to_string();
        let node = Node {
            uid: uid.clone(),
            resource: Arc::clone(resource),
            namespace: object.namespace.to_string(),
            name: object.name.to_string(),
            owners: metadata.owner_references.unwrap_or_default(),
            finalizers: metadata.finalizers.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
        };
        let mut touched = Vec::new();
        let before = self.nodes.get(&uid);
        let owners_changed = before.is_none_or(|before| before.owners != node.owners);
        let deletion_changed = before.is_none_or(|before| before.deleting != node.deleting);
        if (owners_changed && !node.owners.is_empty()) || (deletion_changed && node.deleting) {
            touched.push(uid.clone());
        }
        if owners_changed {
            let old = before.map(|before| before.owners.clone()).unwrap_or_default();
            // An owner that waits may have lost its last dependent.
            touched.extend(old.iter().map(|owner| owner.uid.clone()));
            self.unlink(&uid, &old);
            for owner in &node.owners {
                self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
            }
        }
        self.nodes.insert(uid, node);
        touched
    }

    /// Takes an object out; the UIDs to look at.
    pub(super) fn delete(&mut self, object: &Object) -> Vec<String> {
        self.remove(&object.uid)
    }

    fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        self.unlink(uid, &node.owners);
        let mut touched = self.dependents(uid);
        touched.extend(node.owners.iter().map(|owner| owner.uid.clone()));
        touched
    }

    fn unlink(&mut self, uid: &str, owners: &[OwnerReference]) {
        for owner in owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    /// Replaces all objects of a resource; the UIDs to look at.
    pub(super) fn reset(&mut self, resource: &Arc<Found>, objects: &[Arc<Object>]) -> Vec<String> {
        let present: HashSet<&str> = objects.iter().map(|object| &*object.uid).collect();
        let gone: Vec<String> = self
            .nodes
            .values()
            .filter(|node| node.resource == *resource && !present.contains(node.uid.as_str()))
            .map(|node| node.uid.clone())
            .collect();
        let mut touched: Vec<String> = gone.iter().flat_map(|uid| self.remove(uid)).collect();
        for object in objects {
            touched.extend(self.apply(resource, object));
        }
        touched
    }

    /// Forgets a resource that is no longer served, without drawing conclusions from it.
    pub(super) fn forget(&mut self, resource: &Found) {
        let uids: Vec<String> = self
            .nodes
            .values()
            .filter(|node| *node.resource == *resource)
            .map(|node| node.uid.clone())
            .collect();
        for uid in uids {
            let _nobody_to_look_at = self.remove(&uid);
        }
    }
}
