//! How every component speaks to the API server: one client, two transports.
//!
//! [`Client`] gives typed verbs (`kube::Api`) and shared typed caches ([`Informer`]). Across machines
//! both go over TLS; in the server's own process requests are a direct call and informers share the
//! server's cached objects, decoded once per version. A component cannot tell which it has.
//! [`WorkQueue`] and [`run_workers`] are the frame of every reconciler, [`Recorder`] writes Events.
//! [`Election`] is how one of several leads.

pub mod election;
pub mod informer;
pub mod limits;
pub mod queue;
pub mod recorder;
pub mod remote;
pub mod source;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

pub use election::{Candidacy, Election};
pub use informer::{Change, Informer, Kind};
pub use queue::{Outcome, WorkQueue, run_workers};
pub use recorder::{EventKind, Recorder, Subject};
pub use source::{Source, Update, WatchScope};

/// A component's access to the cluster, under one identity; cheap to clone.
#[derive(Clone)]
pub struct Client {
    kube: kube::Client,
    source: Arc<dyn Source>,
    scope: task::Scope,
    informers: Arc<Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// A client over any pair of request transport and object source. Informers run in `scope`.
    pub fn new(kube: kube::Client, source: Arc<dyn Source>, scope: task::Scope) -> Self {
        Self { kube, source, scope, informers: Arc::default() }
    }

    /// A client that does everything over `kube`'s transport.
    pub fn remote(kube: kube::Client, scope: task::Scope) -> Self {
        let source = Arc::new(remote::RemoteSource::new(kube.clone()));
        Self::new(kube, source, scope)
    }

    /// The request transport, for what [`Client::all`] and [`Client::namespaced`] do not cover.
    pub fn kube(&self) -> kube::Client {
        self.kube.clone()
    }

    /// Verbs on a kind in all namespaces, or on a cluster-scoped kind.
    pub fn all<K>(&self) -> kube::Api<K>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        kube::Api::all(self.kube.clone())
    }

    /// Verbs on a kind in one namespace.
    pub fn namespaced<K>(&self, namespace: &str) -> kube::Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        kube::Api::namespaced(self.kube.clone(), namespace)
    }

    /// The cache of all objects of a kind, started at the first call and shared by all later ones.
    pub fn informer<K: Kind>(&self) -> Informer<K> {
        let mut informers = self.informers.lock();
        let entry = informers
            .entry(TypeId::of::<K>())
            .or_insert_with(|| Box::new(self.informer_of::<K>(WatchScope::all::<K>())));
        entry.downcast_ref::<Informer<K>>().expect("entries are keyed by their type").clone()
    }

    /// A cache of its own for a part of a kind's objects, such as the pods of one node.
    pub fn informer_of<K: Kind>(&self, watched: WatchScope) -> Informer<K> {
        Informer::start(Arc::clone(&self.source), watched, &self.scope)
    }

    /// The raw object source.
    pub fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.source)
    }
}
