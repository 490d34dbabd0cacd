//! EndpointSlices for every Service with a selector.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{Change, Client, Informer, Outcome, WorkQueue, run_workers};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, PostParams};
use reconcile::endpoints::{Group, SlicePlan, groups, plan};

use crate::Context;
use crate::endpoints::watch_services;
use crate::kinds::{name_of, namespace_gone, namespace_of, not_found};
use crate::limits::{ENDPOINTS_PER_SLICE_MAX, WORKERS};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<(String, String)> = WorkQueue::new();
    let services = watch_services(context, &queue);
    let slices = context.client.informer::<EndpointSlice>();
    // Someone else's hand on our slices is undone.
    let (adding, known) = (queue.clone(), services.clone());
    slices.on_change(move |change| {
        let slice = change.object();
        let labels = slice.metadata.labels.clone().unwrap_or_default();
        let ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
        let service = labels.get(SERVICE_NAME).cloned().unwrap_or_default();
        let namespace = namespace_of(&**slice);
        if ours && !matches!(change, Change::Added(_)) && known.get(&namespace, &service).is_some()
        {
            adding.add((namespace, service));
        }
    });
    let worker = Worker {
        client: context.client.clone(),
        services,
        pods: context.client.informer::<Pod>(),
        nodes: context.client.informer::<Node>(),
        slices,
    };
    run_workers(&context.scope, "endpoint slice controller", WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key.0, &key.1).await }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
}

impl Worker {
    async fn reconcile(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.pods.synced().await;
        self.slices.synced().await;
        let Some(service) = self.services.get(namespace, name) else { return Ok(Outcome::Done) };
        let spec = service.spec.clone().unwrap_or_default();
        if spec.selector.as_ref().is_none_or(BTreeMap::is_empty) {
            return Ok(Outcome::Done);
        }
        let families = spec.ip_families.unwrap_or_else(|| vec!["IPv4".to_owned()]);
        let pods = self.pods.list_in(namespace);
        for family in families {
            let zone =
                |node: &str| self.nodes.get("", node)?.metadata.labels.as_ref()?.get(ZONE).cloned();
            let present = self.present(namespace, name, &family);
            let plan =
                plan(groups(&service, &pods, &family, &zone), &present, ENDPOINTS_PER_SLICE_MAX);
            self.act(&service, &family, &present, plan).await?;
        }
        Ok(Outcome::Done)
    }

    fn present(&self, namespace: &str, service: &str, family: &str) -> Vec<Arc<EndpointSlice>> {
        let mut slices = self.slices.list_in(namespace);
        slices.retain(|slice| {
            let label = |key: &str| slice.metadata.labels.as_ref().and_then(|l| l.get(key));
            label(SERVICE_NAME).is_some_and(|name| name == service)
                && label(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
                && slice.address_type == family
                && slice.metadata.deletion_timestamp.is_none()
        });
        slices
    }

    async fn act(
        &self,
        service: &Service,
        family: &str,
        present: &[Arc<EndpointSlice>],
        plan: SlicePlan,
    ) -> Result<(), kube::Error> {
        let api = self.client.namespaced::<EndpointSlice>(&namespace_of(service));
        for group in plan.create {
            let slice = slice(service, family, group);
            match api.create(&PostParams::default(), &slice).await {
                Err(error) if !namespace_gone(&error) => return Err(error),
                _ => {}
            }
        }
        for (name, group) in plan.update {
            let old = present.iter().find(|slice| slice.metadata.name.as_deref() == Some(&name));
            let mut fresh = slice(service, family, group);
            fresh.metadata.generate_name = None;
            fresh.metadata.name = Some(name.clone());
            fresh.metadata.resource_version =
                old.and_then(|old| old.metadata.resource_version.clone());
            match api.replace(&name, &PostParams::default(), &fresh).await {
                Err(error) if !not_found(&error) => return Err(error),
                _ => {}
            }
        }
        for name in plan.delete {
            match api.delete(&name, &DeleteParams::default()).await {
                Err(error) if !not_found(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn slice(service: &Service, family: &str, group: Group) -> EndpointSlice {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name_of(service));
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let cluster_ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    labels.remove(HEADLESS);
    if cluster_ip == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", name_of(service))),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Service".to_owned(),
                name: name_of(service),
                uid: service.metadata.uid.clone().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(group.endpoints),
        ports: Some(group.ports),
    }
}
