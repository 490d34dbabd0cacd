//! Mirrors hand-written `Endpoints` into EndpointSlices, which is what proxies and DNS read.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{Change, Client, Informer, Outcome, WorkQueue, run_workers};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, PostParams};
use reconcile::endpoint_mirror::{groups, is_mirrored};
use reconcile::endpoints::{Group, SlicePlan, plan};

use crate::Context;
use crate::kinds::{name_of, namespace_gone, namespace_of, not_found};
use crate::limits::{ENDPOINTS_PER_SLICE_MAX, WORKERS};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<(String, String)> = WorkQueue::new();
    let endpoints = context.client.informer::<Endpoints>();
    let services = context.client.informer::<Service>();
    let slices = context.client.informer::<EndpointSlice>();
    let adding = queue.clone();
    endpoints.on_change(move |change| {
        let object = change.object();
        adding.add((namespace_of(&**object), name_of(&**object)));
    });
    let adding = queue.clone();
    services.on_change(move |change| {
        let object = change.object();
        adding.add((namespace_of(&**object), name_of(&**object)));
    });
    let adding = queue.clone();
    slices.on_change(move |change| {
        let slice = change.object();
        let labels = slice.metadata.labels.as_ref();
        let label = |key: &str| labels.and_then(|labels| labels.get(key));
        if label(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
            && !matches!(change, Change::Added(_))
            && let Some(service) = label(SERVICE_NAME)
        {
            adding.add((namespace_of(&**slice), service.clone()));
        }
    });
    let worker = Worker { client: context.client.clone(), endpoints, services, slices };
    run_workers(&context.scope, "endpoint mirror", WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key.0, &key.1).await }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    endpoints: Informer<Endpoints>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
}

impl Worker {
    async fn reconcile(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.slices.synced().await;
        self.services.synced().await;
        self.endpoints.synced().await;
        let service = self.services.get(namespace, name);
        let endpoints = self.endpoints.get(namespace, name);
        let mirrored = endpoints.filter(|endpoints| is_mirrored(endpoints, service.as_deref()));
        for family in ["IPv4", "IPv6"] {
            let present = self.present(namespace, name, family);
            let groups = mirrored.as_ref().map(|e| groups(e, family)).unwrap_or_default();
            let plan = match (&mirrored, groups.is_empty()) {
                (Some(_), false) => plan(groups, &present, ENDPOINTS_PER_SLICE_MAX),
                _ => SlicePlan {
                    delete: present.iter().map(|slice| name_of(&**slice)).collect(),
                    ..SlicePlan::default()
                },
            };
            self.act(namespace, mirrored.as_deref(), family, &present, plan).await?;
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
        });
        slices
    }

    async fn act(
        &self,
        namespace: &str,
        endpoints: Option<&Endpoints>,
        family: &str,
        present: &[Arc<EndpointSlice>],
        plan: SlicePlan,
    ) -> Result<(), kube::Error> {
        let api = self.client.namespaced::<EndpointSlice>(namespace);
        if let Some(endpoints) = endpoints {
            for group in plan.create {
                let slice = slice(endpoints, family, group);
                match api.create(&PostParams::default(), &slice).await {
                    Err(error) if !namespace_gone(&error) => return Err(error),
                    _ => {}
                }
            }
            for (name, group) in plan.update {
                let old =
                    present.iter().find(|slice| slice.metadata.name.as_deref() == Some(&name));
                let mut fresh = slice(endpoints, family, group);
                fresh.metadata.generate_name = None;
                fresh.metadata.name = Some(name.clone());
                fresh.metadata.resource_version =
                    old.and_then(|old| old.metadata.resource_version.clone());
                match api.replace(&name, &PostParams::default(), &fresh).await {
                    Err(error) if !not_found(&error) => return Err(error),
                    _ => {}
                }
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

fn slice(endpoints: &Endpoints, family: &str, group: Group) -> EndpointSlice {
    let mut labels: BTreeMap<String, String> =
        endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name_of(endpoints));
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", name_of(endpoints))),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Endpoints".to_owned(),
                name: name_of(endpoints),
                uid: endpoints.metadata.uid.clone().unwrap_or_default(),
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
