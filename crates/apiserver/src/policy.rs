//! Authorization against the roles and bindings as they are now.
//!
//! The index over the bindings is made again when one of the four kinds has changed since; until then a
//! request costs a few look-ups. Nodes are asked about first: see `authz::node`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::object::Object;
use arc_swap::ArcSwapOption;
use authz::index::{Index, Roles, rules_of};
use authz::{Attributes, Decision, node, rbac};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef,
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::cache::{Cache, Caches, Cursor};

const GROUP: &str = "rbac.authorization.k8s.io";

/// See the module's text.
pub(crate) struct Policy {
    caches: Arc<Caches>,
    /// Cluster roles, roles, cluster role bindings, role bindings.
    places: [Arc<Cache>; 4],
    current: ArcSwapOption<Snapshot>,
    building: Mutex<()>,
}

struct Snapshot {
    index: Index,
    /// Where each cache was before the index was made.
    cursors: [Cursor; 4],
    /// Revision of all caches at which nothing of ours had changed since.
    valid_at: AtomicU64,
}

struct Stored<'a>(&'a [Arc<Cache>; 4]);

fn typed<K: DeserializeOwned + Send + Sync + 'static>(object: &Arc<Object>) -> Option<Arc<K>> {
    let typed = object.typed::<K>();
    typed
        .inspect_err(|error| tracing::error!(?object, %error, "a stored object is not readable"))
        .ok()
}

impl Roles for Stored<'_> {
    fn cluster_role(&self, name: &str) -> Option<Arc<[PolicyRule]>> {
        let object = self.0[0].get("", name)?;
        Some(typed::<ClusterRole>(&object)?.rules.clone().unwrap_or_default().into())
    }

    fn role(&self, namespace: &str, name: &str) -> Option<Arc<[PolicyRule]>> {
        let object = self.0[1].get(namespace, name)?;
        Some(typed::<Role>(&object)?.rules.clone().unwrap_or_default().into())
    }
}

/// The objects that the node authorizer follows, from memory.
struct Nodes<'a>(&'a Caches);

impl node::Cluster for Nodes<'_> {
    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        typed(&self.0.place("", "pods").get(namespace, name)?)
    }

    fn pods_of(&self, node: &str, namespace: &str) -> Vec<Arc<Pod>> {
        let pods = self.0.place("", "pods");
        let pods = pods.list(namespace, |pod| pod.field("spec.nodeName") == Some(node));
        pods.iter().filter_map(typed).collect()
    }

    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        typed(&self.0.place("", "persistentvolumeclaims").get(namespace, name)?)
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        typed(&self.0.place("", "persistentvolumes").get("", name)?)
    }

    fn attachment_node(&self, name: &str) -> Option<String> {
        self.text_of("storage.k8s.io", "volumeattachments", name)
    }

    fn slice_node(&self, name: &str) -> Option<String> {
        self.text_of("resource.k8s.io", "resourceslices", name)
    }
}

impl Nodes<'_> {
    /// `spec.nodeName` of a cluster-scoped object.
    fn text_of(&self, group: &str, plural: &str, name: &str) -> Option<String> {
        let object = self.0.place(group, plural).get("", name)?.to_value();
        Some(object.pointer("/spec/nodeName")?.as_str()?.to_owned())
    }
}

impl Policy {
    pub(crate) fn new(caches: Arc<Caches>) -> Self {
        let places = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"]
            .map(|plural| caches.place(GROUP, plural));
        Self { caches, places, current: ArcSwapOption::empty(), building: Mutex::new(()) }
    }

    /// Whether the request is allowed; else why not, in upstream's words.
    pub(crate) fn authorize(&self, asked: &Attributes<'_>) -> Result<(), String> {
        match self.decide(asked) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(why) | Decision::NoOpinion(why) => Err(why),
        }
    }

    /// The authorizers' answer: superusers, nodes, roles.
    pub(crate) fn decide(&self, asked: &Attributes<'_>) -> Decision {
        if asked.groups.iter().any(|group| group == rbac::SUPERUSERS) {
            return Decision::Allow(String::new());
        }
        let by_node = node::decide(asked, &Nodes(&self.caches));
        if matches!(by_node, Decision::Allow(_)) {
            return by_node;
        }
        match (by_node, self.snapshot().index.decide(asked)) {
            // Reasons of authorizers that do not agree are shown together.
            (Decision::NoOpinion(first), Decision::NoOpinion(second)) if !first.is_empty() => {
                let both = if second.is_empty() { first } else { format!("{first}\n{second}") };
                Decision::NoOpinion(both)
            }
            (_, by_roles) => by_roles,
        }
    }

    /// All rules that a user has in a namespace (or, when it is empty, in the whole cluster).
    pub(crate) fn rules(&self, user: &str, groups: &[String], namespace: &str) -> Vec<PolicyRule> {
        self.rules_and_faults(user, groups, namespace).0
    }

    /// The same, and what could not be found out.
    pub(crate) fn rules_and_faults(
        &self,
        user: &str,
        groups: &[String],
        namespace: &str,
    ) -> (Vec<PolicyRule>, Vec<String>) {
        self.snapshot().index.rules(user, groups, namespace)
    }

    /// The rules of a role that a binding refers to.
    ///
    /// # Errors
    /// The role is not there, in upstream's words.
    pub(crate) fn rules_of(
        &self,
        role: &RoleRef,
        namespace: &str,
    ) -> Result<Arc<[PolicyRule]>, Arc<str>> {
        rules_of(role, namespace, &Stored(&self.places))
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        if let Some(current) = self.valid() {
            return current;
        }
        let _one_builds = self.building.lock();
        if let Some(current) = self.valid() {
            return current;
        }
        let made = Arc::new(self.build());
        self.current.store(Some(Arc::clone(&made)));
        made
    }

    fn valid(&self) -> Option<Arc<Snapshot>> {
        let revision = self.caches.revision();
        let current = self.current.load_full()?;
        if current.valid_at.load(Ordering::Acquire) >= revision {
            return Some(current);
        }
        let unchanged = |(place, cursor): (&Arc<Cache>, &Cursor)| {
            place.read(*cursor, 1).is_ok_and(|(events, _)| events.is_empty())
        };
        if !self.places.iter().zip(&current.cursors).all(unchanged) {
            return None;
        }
        current.valid_at.fetch_max(revision, Ordering::Release);
        Some(current)
    }

    fn build(&self) -> Snapshot {
        let revision = self.caches.revision();
        // Before the objects: a change in between is then seen as one.
        let cursors = [0, 1, 2, 3].map(|place: usize| self.places[place].end());
        let everywhere = self.places[2].list("", |_| true);
        let everywhere: Vec<_> =
            everywhere.iter().filter_map(typed::<ClusterRoleBinding>).collect();
        let within = self.places[3].list("", |_| true);
        let within: Vec<_> = within.iter().filter_map(typed::<RoleBinding>).collect();
        let index = Index::build(
            everywhere.iter().map(|binding| &**binding),
            within.iter().map(|binding| &**binding),
            &Stored(&self.places),
        );
        Snapshot { index, cursors, valid_at: AtomicU64::new(revision) }
    }
}
