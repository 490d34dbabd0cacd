//! Recounts what ResourceQuotas bound. Admission charges what is made; what goes is noticed here.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use admission::quota::{recount, to_json};
use api::resource::Resource;
use client::{Change, Client, Informer, Outcome, Update, WatchScope, WorkQueue, run_workers};
use clock::Clock;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::api::PostParams;
use parking_lot::Mutex;
use reconcile::pods;
use serde_json::{Value, json};

use crate::Context;
use crate::dynamic::{DynamicError, discover};
use crate::kinds::{name_of, namespace_of, not_found};
use crate::limits::{QUOTA_PERIOD, WORKERS};

type Key = (String, String);

#[derive(Debug, thiserror::Error)]
enum RecountError {
    #[error("cannot count the objects of a quota")]
    Count(#[from] DynamicError),
    #[error("cannot write a quota")]
    Write(#[from] kube::Error),
    #[error("cannot read a quota as a tree")]
    Tree(#[from] serde_json::Error),
}

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let quotas = context.client.informer::<ResourceQuota>();
    let adding = queue.clone();
    quotas.on_change(move |change| {
        let quota = change.object();
        let counted = quota.status.as_ref().and_then(|status| status.hard.as_ref());
        let new = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()) != counted;
        if new && !matches!(change, Change::Deleted(_)) {
            adding.add((namespace_of(&**quota), name_of(&**quota)));
        }
    });
    let worker = Worker {
        client: context.client.clone(),
        clock: context.clock.clone(),
        quotas,
        queue: queue.clone(),
        watching: Arc::default(),
        followed: Arc::default(),
        scope: context.scope.clone(),
    };
    run_workers(&context.scope, "resource quota controller", WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key.0, &key.1).await }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    clock: Clock,
    quotas: Informer<ResourceQuota>,
    queue: WorkQueue<Key>,
    watching: Arc<AtomicBool>,
    /// Group and plural of the kinds that are watched because a quota counts them.
    followed: Arc<Mutex<BTreeSet<(String, String)>>>,
    scope: task::Scope,
}

/// Kinds of which more counts than that an object goes; they are watched from the first quota on.
const WATCHED: [&str; 3] = ["persistentvolumeclaims", "pods", "services"];

impl Worker {
    async fn reconcile(&self, namespace: &str, name: &str) -> Result<Outcome, RecountError> {
        // A cluster without quotas watches nothing for them.
        if !self.watching.swap(true, Ordering::SeqCst) {
            self.watch_all();
        }
        let api = self.client.namespaced::<ResourceQuota>(namespace);
        let Some(quota) = api.get_opt(name).await? else { return Ok(Outcome::Done) };
        let tree = serde_json::to_value(&quota)?;
        let objects = self.objects(namespace, &hard_names(&tree)).await?;
        let pairs = objects.iter().flat_map(|(row, all)| all.iter().map(move |o| (&**row, o)));
        let used = recount(&tree, pairs, self.clock.now());
        let status = json!({"hard": tree["spec"]["hard"], "used": to_json(&used)});
        if tree["status"] == status {
            return Ok(Outcome::After(QUOTA_PERIOD));
        }
        let mut counted = quota;
        counted.status = Some(serde_json::from_value(status)?);
        match api.replace_status(name, &PostParams::default(), &counted).await {
            Err(error) if !not_found(&error) => Err(error.into()),
            _ => Ok(Outcome::After(QUOTA_PERIOD)),
        }
    }

    /// What goes, ends or changes what it asks for wakes the quotas of its namespace.
    fn watch_all(&self) {
        let wake = self.waking();
        self.client.informer::<Pod>().on_change(move |change| {
            let ended = match change {
                Change::Added(_) => false,
                Change::Updated { old, new } => {
                    (pods::is_terminal(new) && !pods::is_terminal(old))
                        || resources_of(old) != resources_of(new)
                }
                Change::Deleted(_) => true,
            };
            if ended {
                wake(&namespace_of(&**change.object()));
            }
        });
        let wake = self.waking();
        self.client.informer::<Service>().on_change(move |change| {
            if !matches!(change, Change::Added(_)) {
                wake(&namespace_of(&**change.object()));
            }
        });
        let wake = self.waking();
        self.client.informer::<PersistentVolumeClaim>().on_change(move |change| {
            if !matches!(change, Change::Added(_)) {
                wake(&namespace_of(&**change.object()));
            }
        });
    }

    fn waking(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let (queue, quotas) = (self.queue.clone(), self.quotas.clone());
        move |namespace| {
            for quota in quotas.list_in(namespace) {
                queue.add((namespace.to_owned(), name_of(&*quota)));
            }
        }
    }

    /// Watches a kind for as long as it is served and a quota counts it.
    fn follow(&self, row: &Resource) {
        let place = (row.group.to_string(), row.plural.to_string());
        let is_watched = place.0.is_empty() && WATCHED.contains(&&*place.1);
        if is_watched || !self.followed.lock().insert(place.clone()) {
            return;
        }
        let watched = WatchScope {
            group: place.0.clone(),
            version: row.version.to_string(),
            plural: place.1.clone(),
            ..WatchScope::default()
        };
        let worker = self.clone();
        self.scope.spawn_until_cancelled("quota watch", async move {
            let mut updates = worker.client.source().watch(watched);
            while let Some(update) = updates.next().await {
                let namespace = match &update {
                    Update::Applied(_) => continue,
                    Update::Deleted(object) => Some(&*object.namespace),
                    // What went before the watch began was told to nobody.
                    Update::Reset(_) => None,
                };
                if !worker.wake_counting(&place, namespace) {
                    break;
                }
            }
            worker.followed.lock().remove(&place);
        });
    }

    /// Wakes the quotas of one namespace, or all, that count a kind; whether any does anywhere.
    fn wake_counting(&self, (group, plural): &(String, String), namespace: Option<&str>) -> bool {
        let mut quotas = self.quotas.list();
        quotas.retain(|quota| {
            let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
            hard.into_iter().flatten().any(|(name, _)| place_of(name) == (group, plural))
        });
        for quota in &quotas {
            let key = (namespace_of(&**quota), name_of(&**quota));
            if namespace.is_none_or(|namespace| namespace == key.0) {
                self.queue.add(key);
            }
        }
        !quotas.is_empty()
    }

    /// All objects that the named resources are about, from the server itself.
    async fn objects(
        &self,
        namespace: &str,
        names: &BTreeSet<String>,
    ) -> Result<Vec<(Arc<Resource>, Vec<Value>)>, DynamicError> {
        let mut all = Vec::new();
        let places: BTreeSet<(&str, &str)> = names.iter().map(|name| place_of(name)).collect();
        for (group, plural) in places {
            let Some(row) = self.row(group, plural).await? else { continue };
            self.follow(&row);
            let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
            let path = format!("{root}/{}/namespaces/{namespace}/{plural}", row.version);
            let request = http::Request::get(path).body(Vec::new())?;
            let mut list: Value = self.client.kube().request(request).await?;
            let Value::Array(items) = list["items"].take() else { continue };
            all.push((row, items));
        }
        Ok(all)
    }

    async fn row(&self, group: &str, plural: &str) -> Result<Option<Arc<Resource>>, DynamicError> {
        let mut rows = api::kinds::all().iter();
        if let Some(row) = rows.find(|row| row.group == group && row.plural == plural) {
            return Ok(row.is_namespaced().then(|| Arc::clone(row)));
        }
        let found = discover(&self.client.kube()).await?;
        let found =
            found.into_iter().find(|f| f.group == group && f.plural == plural && f.namespaced);
        // For counting, a custom kind is any kind with another name.
        let shape = api::kinds::all().iter().find(|row| row.plural == "configmaps");
        Ok(found.zip(shape).map(|(found, shape)| {
            Arc::new(Resource {
                group: Cow::Owned(found.group),
                version: Cow::Owned(found.version),
                kind: Cow::Owned(found.kind),
                plural: Cow::Owned(found.plural),
                ..(**shape).clone()
            })
        }))
    }
}

fn hard_names(quota: &Value) -> BTreeSet<String> {
    let hard = quota["spec"]["hard"].as_object();
    hard.into_iter().flat_map(|hard| hard.keys().cloned()).collect()
}

/// Group and plural of the kind that a quota's resource is about.
fn place_of(name: &str) -> (&str, &str) {
    if let Some(counted) = name.strip_prefix("count/") {
        let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
        return (group, plural);
    }
    match name {
        "configmaps"
        | "secrets"
        | "replicationcontrollers"
        | "resourcequotas"
        | "persistentvolumeclaims"
        | "services" => ("", name),
        "services.nodeports" | "services.loadbalancers" => ("", "services"),
        "requests.storage" => ("", "persistentvolumeclaims"),
        _ if name.contains(".storageclass.storage.k8s.io/") => ("", "persistentvolumeclaims"),
        _ if name.contains(".deviceclass.resource.k8s.io/") => {
            ("resource.k8s.io", "resourceclaims")
        }
        _ => ("", "pods"),
    }
}

/// What a pod asks for: it may be resized.
fn resources_of(pod: &Pod) -> Vec<Option<k8s_openapi::api::core::v1::ResourceRequirements>> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.map(|container| container.resources.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::place_of;

    #[test]
    fn every_resource_has_its_kind() {
        let cases = [
            ("pods", ("", "pods")),
            ("limits.cpu", ("", "pods")),
            ("requests.nvidia.com/gpu", ("", "pods")),
            ("services.nodeports", ("", "services")),
            ("requests.storage", ("", "persistentvolumeclaims")),
            ("gold.storageclass.storage.k8s.io/requests.storage", ("", "persistentvolumeclaims")),
            ("count/deployments.apps", ("apps", "deployments")),
            ("count/secrets", ("", "secrets")),
            ("count/things.example.com", ("example.com", "things")),
        ];
        for (name, place) in cases {
            assert_eq!(place_of(name), place, "{name}");
        }
    }
}
