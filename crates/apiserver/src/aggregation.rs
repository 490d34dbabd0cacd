//! The aggregation layer: API groups that other servers serve, as `APIService` objects say.
//!
//! Requests below such a group go on to its backend under the name of the user who asks ([`proxy`]). One
//! loop follows the objects, looks whether the backends answer ([`availability`]) and remembers what they
//! serve ([`remote`]); another registers an object for every group that this server serves itself
//! ([`local`]).

mod authentication;
mod availability;
mod backend;
pub(crate) mod documents;
mod local;
pub(crate) mod proxy;
mod remote;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::server::Server;
pub(crate) use backend::Backend;

pub(crate) use local::priority;
pub(crate) use remote::Remote;

const GROUP: &str = "apiregistration.k8s.io";
const PLURAL: &str = "apiservices";

/// See the module's text.
#[derive(Default)]
pub(crate) struct Aggregation {
    /// By group and version.
    backends: ArcSwap<HashMap<(String, String), Arc<Backend>>>,
    /// What each backend serves, by the name of its object; kept while a backend is away.
    remotes: Mutex<BTreeMap<String, Arc<Remote>>>,
    documents: documents::Fetched,
}

impl Aggregation {
    /// Whether there is no backend, as in most clusters.
    pub(crate) fn is_empty(&self) -> bool {
        self.backends.load().is_empty()
    }

    /// Who serves a group and version, if it is not this server.
    pub(crate) fn backend(&self, group: &str, version: &str) -> Option<Arc<Backend>> {
        let backends = self.backends.load();
        if backends.is_empty() {
            return None;
        }
        backends.get(&(group.to_owned(), version.to_owned())).cloned()
    }

    /// Who serves a path below `/apis/GROUP/VERSION` (or `/api/VERSION`), if it is not this server.
    pub(crate) fn backend_of_path(&self, path: &str) -> Option<Arc<Backend>> {
        if self.is_empty() {
            return None;
        }
        let mut segments = path.trim_start_matches('/').split('/');
        match segments.next()? {
            "apis" => {
                let (group, version) = (segments.next()?, segments.next()?);
                self.backend(group, version)
            }
            "api" => self.backend("", segments.next()?),
            _ => None,
        }
    }

    /// What the backends serve, in the order of their names.
    pub(crate) fn remotes(&self) -> Vec<Arc<Remote>> {
        if self.is_empty() {
            return Vec::new();
        }
        self.remotes.lock().values().cloned().collect()
    }
}

impl Server {
    /// Starts following the objects.
    pub(crate) fn start_aggregation(self: &Arc<Self>) {
        self.load_backends();
        let following = Arc::clone(self);
        self.scope.spawn_until_cancelled("aggregated servers", async move {
            following.follow_backends().await;
        });
        let registering = Arc::clone(self);
        self.scope.spawn_until_cancelled("local API services", async move {
            registering.publish_authentication().await;
            registering.register_local().await;
        });
    }
}
