//! Mirrors hand-written `Endpoints` into EndpointSlices, which is what proxies and DNS read.

use client::{Client, Informer, Outcome, WorkQueue, run_workers};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use reconcile::endpoint_mirror::{groups, is_mirrored};
use reconcile::endpoints::{SlicePlan, plan};

use crate::Context;
use crate::kinds::{name_of, namespace_of};
use crate::limits::{ENDPOINTS_PER_SLICE_MAX, WORKERS};
use crate::slices::{Manager, carry_out};

const MANAGER: Manager = Manager("endpointslicemirroring-controller.k8s.io");

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
        if let Some(service) = MANAGER.disturbed(change) {
            adding.add(service);
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
            let present = MANAGER.present(&self.slices, namespace, name, family);
            let groups = mirrored.as_ref().map(|e| groups(e, family)).unwrap_or_default();
            let Some(endpoints) = mirrored.as_deref().filter(|_| !groups.is_empty()) else {
                let delete = present.iter().map(|slice| name_of(&**slice)).collect();
                let plan = SlicePlan { delete, ..SlicePlan::default() };
                carry_out(
                    &self.client,
                    &self.slices,
                    namespace,
                    &present,
                    plan,
                    &EndpointSlice::default(),
                )
                .await?;
                continue;
            };
            let plan = plan(groups, &present, ENDPOINTS_PER_SLICE_MAX);
            let labels = endpoints.metadata.labels.clone().unwrap_or_default();
            let empty = MANAGER.slice(endpoints, labels, family);
            carry_out(&self.client, &self.slices, namespace, &present, plan, &empty).await?;
        }
        Ok(Outcome::Done)
    }
}
