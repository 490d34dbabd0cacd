//! The old `Endpoints` form of what stands behind a Service.

use client::{Change, Client, Informer, Outcome, WorkQueue, run_workers};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use reconcile::endpoints::{groups, has_endpoints, selects, subsets};

use crate::Context;
use crate::kinds::{name_of, namespace_gone, namespace_of, not_found};
use crate::limits::{ENDPOINTS_MAX, WORKERS};

const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// Queues every Service that a change of it or of a pod may concern.
pub(crate) fn watch_services(
    context: &Context,
    queue: &WorkQueue<(String, String)>,
) -> Informer<Service> {
    let services = context.client.informer::<Service>();
    let pods = context.client.informer::<Pod>();
    let adding = queue.clone();
    services.on_change(move |change| {
        let service = change.object();
        adding.add((namespace_of(&**service), name_of(&**service)));
    });
    let (adding, known) = (queue.clone(), services.clone());
    pods.on_change(move |change| {
        let versions = match change {
            Change::Updated { old, new } => vec![old, new],
            Change::Added(pod) | Change::Deleted(pod) => vec![pod],
        };
        for service in known.list_in(&namespace_of(&**change.object())) {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            if versions.iter().any(|pod| selects(selector, pod)) {
                adding.add((namespace_of(&*service), name_of(&*service)));
            }
        }
    });
    services
}

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<(String, String)> = WorkQueue::new();
    let services = watch_services(context, &queue);
    let endpoints = context.client.informer::<Endpoints>();
    let adding = queue.clone();
    endpoints.on_change(move |change| {
        if !matches!(change, Change::Added(_)) {
            let object = change.object();
            adding.add((namespace_of(&**object), name_of(&**object)));
        }
    });
    let worker = Worker {
        client: context.client.clone(),
        services,
        pods: context.client.informer::<Pod>(),
        endpoints,
    };
    run_workers(&context.scope, "endpoints controller", WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key.0, &key.1).await }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
}

impl Worker {
    async fn reconcile(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.pods.synced().await;
        self.endpoints.synced().await;
        self.services.synced().await;
        let api = self.client.namespaced::<Endpoints>(namespace);
        let present = self.endpoints.get(namespace, name);
        let Some(service) = self.services.get(namespace, name) else {
            let ours = present.is_some_and(|endpoints| {
                let labels = endpoints.metadata.labels.as_ref();
                labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|m| m == MANAGER)
            });
            if ours {
                return match api.delete(name, &DeleteParams::default()).await {
                    Err(error) if !not_found(&error) => Err(error),
                    _ => Ok(Outcome::Done),
                };
            }
            return Ok(Outcome::Done);
        };
        let spec = service.spec.as_ref();
        if !spec.is_some_and(has_endpoints) {
            return Ok(Outcome::Done);
        }
        let family = spec.and_then(|spec| spec.ip_families.as_ref()?.first().cloned());
        let family = family.unwrap_or_else(|| "IPv4".to_owned());
        let pods = self.pods.list_in(namespace);
        let subsets = subsets(&groups(&service, &pods, &family, &|_| None), ENDPOINTS_MAX);
        let mut labels = service.metadata.labels.clone().unwrap_or_default();
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        if spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
            labels.insert(HEADLESS.to_owned(), String::new());
        }
        let same = present.as_ref().is_some_and(|present| {
            present.metadata.labels.as_ref() == Some(&labels)
                && present.subsets.as_deref().unwrap_or_default() == subsets.as_slice()
        });
        if same {
            return Ok(Outcome::Done);
        }
        let wanted = Endpoints {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(labels),
                resource_version: present
                    .as_ref()
                    .and_then(|p| p.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            subsets: (!subsets.is_empty()).then_some(subsets),
        };
        let written = match present {
            Some(_) => api.replace(name, &PostParams::default(), &wanted).await,
            None => api.create(&PostParams::default(), &wanted).await,
        };
        match written {
            Err(error) if !namespace_gone(&error) => Err(error),
            _ => Ok(Outcome::Done),
        }
    }
}
