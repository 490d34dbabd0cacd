//! Objects whose owners are gone are deleted; owners that wait for their dependents are let go.
//!
//! A graph of all objects by UID, fed by a watch per resource, says who is whose. Every step looks at
//! one object and decides by `reconcile::ownership`; an owner that the graph does not know is looked up
//! before anything is deleted on its absence.

mod graph;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use client::{Client, Outcome, Update, WorkQueue, run_workers};
use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use parking_lot::Mutex;
use reconcile::ownership::{Decision, FOREGROUND, ORPHAN, OwnerState, decide};
use serde_json::{Value, json};

use crate::Context;
use crate::dynamic::{self, DynamicError, Found};
use crate::limits::WORKERS;
use graph::{Graph, Node};

pub(crate) fn start(context: &Context) {
    let collector = Arc::new(Collector {
        client: context.client.clone(),
        scope: context.scope.clone(),
        queue: WorkQueue::new(),
        graph: Mutex::default(),
        watched: Mutex::default(),
        unsynced: AtomicUsize::new(0),
        synced: tokio::sync::Notify::new(),
    });
    // Custom resources come and go with their definitions.
    let definitions = context.client.informer::<CustomResourceDefinition>();
    let changed = definitions.changed();
    let following = Arc::clone(&collector);
    let discovery = Unsynced::begin(&collector);
    context.scope.spawn_until_cancelled("garbage collector watches", async move {
        following.follow_resources(changed, discovery).await;
    });
    run_workers(
        &context.scope,
        "garbage collector",
        WORKERS,
        &collector.queue.clone(),
        move |uid| {
            let collector = Arc::clone(&collector);
            async move { collector.reconcile(&uid).await }
        },
    );
}

struct Collector {
    client: Client,
    scope: task::Scope,
    queue: WorkQueue<String>,
    graph: Mutex<Graph>,
    watched: Mutex<HashMap<Found, task::Scope>>,
    /// Watches that have not delivered their first list.
    unsynced: AtomicUsize,
    synced: tokio::sync::Notify,
}

/// Keeps the collector waiting for a first list. Ends with its watch too: a resource that is gone before it was
/// listed must not hold up everything for ever.
struct Unsynced(Arc<Collector>);

impl Unsynced {
    fn begin(collector: &Arc<Collector>) -> Self {
        collector.unsynced.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(collector))
    }
}

impl Drop for Unsynced {
    fn drop(&mut self) {
        if self.0.unsynced.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.synced.notify_waiters();
        }
    }
}

/// Events own nothing and are owned by nobody; there are many.
fn is_ignored(found: &Found) -> bool {
    found.plural == "events" && matches!(found.group.as_str(), "" | "events.k8s.io")
}

impl Collector {
    async fn follow_resources(
        self: Arc<Self>,
        mut changed: tokio::sync::watch::Receiver<u64>,
        discovery: Unsynced,
    ) {
        let mut discovery = Some(discovery);
        loop {
            match dynamic::discover(&self.client.kube()).await {
                Ok(resources) => self.watch_all(resources),
                Err(error) => tracing::warn!(%error, "the garbage collector cannot discover"),
            }
            drop(discovery.take());
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn watch_all(self: &Arc<Self>, resources: Vec<Found>) {
        let wanted: Vec<Found> = resources
            .into_iter()
            .filter(|found| found.has("list") && found.has("watch") && found.has("delete"))
            .filter(|found| !is_ignored(found))
            .collect();
        let mut watched = self.watched.lock();
        watched.retain(|found, scope| {
            let keep = wanted.contains(found);
            if !keep {
                scope.cancel();
                self.graph.lock().forget(found);
            }
            keep
        });
        for found in wanted {
            if watched.contains_key(&found) {
                continue;
            }
            let scope = self.scope.child();
            let unsynced = Unsynced::begin(self);
            let (collector, resource) = (Arc::clone(self), found.clone());
            scope.spawn_until_cancelled("garbage collector watch", async move {
                collector.follow(Arc::new(resource), unsynced).await;
            });
            watched.insert(found, scope);
        }
    }

    async fn wait_until_synced(&self) {
        loop {
            let woken = self.synced.notified();
            if self.unsynced.load(Ordering::SeqCst) == 0 {
                return;
            }
            woken.await;
        }
    }

    /// Follows one resource until it is no longer served.
    async fn follow(self: Arc<Self>, found: Arc<Found>, unsynced: Unsynced) {
        let mut updates = self.client.source().watch(found.scope());
        let mut unsynced = Some(unsynced);
        while let Some(update) = updates.next().await {
            let touched = {
                let mut graph = self.graph.lock();
                match update {
                    Update::Applied(object) => graph.apply(&found, &object),
                    Update::Deleted(object) => graph.delete(&object),
                    Update::Reset(objects) => graph.reset(&found, &objects),
                }
            };
            for uid in touched {
                self.queue.add(uid);
            }
            drop(unsynced.take());
        }
        // Served again, it is discovered and followed anew.
        self.watched.lock().remove(&*found);
    }

    async fn reconcile(&self, uid: &str) -> Result<Outcome, DynamicError> {
        self.wait_until_synced().await;
        let Some(node) = self.graph.lock().get(uid) else { return Ok(Outcome::Done) };
        if node.deleting && node.has_finalizer(ORPHAN) {
            return self.orphan_dependents(&node).await;
        }
        if node.deleting && node.has_finalizer(FOREGROUND) {
            return self.wait_for_dependents(&node).await;
        }
        if node.deleting || node.owners.is_empty() {
            return Ok(Outcome::Done);
        }
        let mut owners = Vec::with_capacity(node.owners.len());
        for owner in &node.owners {
            let state = self.state_of(&node, owner).await?;
            owners.push((owner.clone(), state));
        }
        let (blocking, circle) = {
            let graph = self.graph.lock();
            (graph.has_blocking_dependents(uid), graph.has_waiting_dependents(uid))
        };
        let decision = decide(&owners, blocking);
        if circle && decision == Decision::Delete(Some("Foreground")) {
            // Its dependents wait for it as it would for them: it must not hold its owners back.
            forgive_gone(self.unblock_owners(&node).await)?;
        }
        self.act(&node, decision).await
    }

    async fn act(&self, node: &Node, decision: Decision) -> Result<Outcome, DynamicError> {
        let kube = self.client.kube();
        let result = match decision {
            Decision::Keep => return Ok(Outcome::Done),
            Decision::Delete(policy) => {
                dynamic::delete(&kube, &node.path(), &node.uid, policy).await
            }
            Decision::Drop(gone) => self.drop_owners(node, &gone).await,
        };
        forgive_gone(result)
    }

    async fn state_of(
        &self,
        node: &Node,
        owner: &OwnerReference,
    ) -> Result<OwnerState, DynamicError> {
        let known = self.graph.lock().get(&owner.uid);
        if let Some(known) = known {
            // A reference across namespaces points at nothing.
            let reachable = known.namespace.is_empty() || known.namespace == node.namespace;
            let waiting = known.deleting && known.has_finalizer(FOREGROUND);
            return Ok(match (reachable, waiting) {
                (false, _) => OwnerState::Absent,
                (true, true) => OwnerState::Waiting,
                (true, false) => OwnerState::Solid,
            });
        }
        let found = {
            let watched = self.watched.lock();
            let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
            watched.keys().find(|found| found.group == group && found.kind == owner.kind).cloned()
        };
        // A kind that nobody serves: its objects cannot be looked up, so nothing may be deleted.
        let Some(found) = found else { return Ok(OwnerState::Solid) };
        let namespace = if found.namespaced { node.namespace.as_str() } else { "" };
        if found.namespaced && namespace.is_empty() {
            // A cluster-scoped object cannot be owned by a namespaced one.
            return Ok(OwnerState::Solid);
        }
        let live = dynamic::get(&self.client.kube(), &found.path(namespace, &owner.name)).await?;
        let same = live.is_some_and(|live| live["metadata"]["uid"] == json!(owner.uid));
        Ok(if same { OwnerState::Solid } else { OwnerState::Absent })
    }

    async fn wait_for_dependents(&self, node: &Node) -> Result<Outcome, DynamicError> {
        let (blocking, dependents) = {
            let graph = self.graph.lock();
            (graph.has_blocking_dependents(&node.uid), graph.dependents(&node.uid))
        };
        for dependent in dependents {
            self.queue.add(dependent);
        }
        if blocking {
            return Ok(Outcome::Done);
        }
        self.remove_finalizer(node, FOREGROUND).await
    }

    async fn orphan_dependents(&self, node: &Node) -> Result<Outcome, DynamicError> {
        let dependents: Vec<Node> = {
            let graph = self.graph.lock();
            graph.dependents(&node.uid).iter().filter_map(|uid| graph.get(uid)).collect()
        };
        for dependent in dependents {
            let dropped = self.drop_owners(&dependent, std::slice::from_ref(&node.uid)).await;
            forgive_gone(dropped)?;
        }
        self.remove_finalizer(node, ORPHAN).await
    }

    async fn drop_owners(&self, node: &Node, gone: &[String]) -> Result<(), DynamicError> {
        let kube = self.client.kube();
        let Some(live) = dynamic::get(&kube, &node.path()).await? else { return Ok(()) };
        let owners = live["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        let is_gone = |owner: &Value| gone.iter().any(|uid| owner["uid"] == json!(uid));
        let kept: Vec<Value> = owners.into_iter().filter(|owner| !is_gone(owner)).collect();
        let patch = json!({"metadata": {
            "uid": node.uid,
            "resourceVersion": live["metadata"]["resourceVersion"],
            "ownerReferences": if kept.is_empty() { Value::Null } else { Value::Array(kept) },
        }});
        dynamic::merge(&kube, &node.path(), &patch).await
    }

    async fn unblock_owners(&self, node: &Node) -> Result<(), DynamicError> {
        let kube = self.client.kube();
        let Some(live) = dynamic::get(&kube, &node.path()).await? else { return Ok(()) };
        let mut owners =
            live["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        for owner in &mut owners {
            owner["blockOwnerDeletion"] = json!(false);
        }
        let patch = json!({"metadata": {
            "uid": node.uid,
            "resourceVersion": live["metadata"]["resourceVersion"],
            "ownerReferences": owners,
        }});
        dynamic::merge(&kube, &node.path(), &patch).await
    }

    async fn remove_finalizer(
        &self,
        node: &Node,
        finalizer: &str,
    ) -> Result<Outcome, DynamicError> {
        let kube = self.client.kube();
        let Some(live) = dynamic::get(&kube, &node.path()).await? else { return Ok(Outcome::Done) };
        let finalizers = live["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let kept: Vec<Value> =
            finalizers.into_iter().filter(|have| *have != json!(finalizer)).collect();
        let patch = json!({"metadata": {
            "uid": node.uid,
            "resourceVersion": live["metadata"]["resourceVersion"],
            "finalizers": kept,
        }});
        forgive_gone(dynamic::merge(&kube, &node.path(), &patch).await)
    }
}

/// An object that is gone meanwhile, or is another one by now, needs nothing any more.
fn forgive_gone(result: Result<(), DynamicError>) -> Result<Outcome, DynamicError> {
    match result {
        Err(error) if error.code() != 404 => Err(error),
        _ => Ok(Outcome::Done),
    }
}
