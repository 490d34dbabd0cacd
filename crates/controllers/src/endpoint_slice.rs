//! EndpointSlices for every Service with a selector.

use client::{Client, Informer, Outcome, WorkQueue, run_workers};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use reconcile::endpoints::{groups, has_endpoints, plan};

use crate::Context;
use crate::endpoints::watch_services;
use crate::limits::{ENDPOINTS_PER_SLICE_MAX, WORKERS};
use crate::slices::{Manager, carry_out};

const MANAGER: Manager = Manager("endpointslice-controller.k8s.io");
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<(String, String)> = WorkQueue::new();
    let services = watch_services(context, &queue);
    let slices = context.client.informer::<EndpointSlice>();
    // Someone else's hand on our slices is undone.
    let (adding, known) = (queue.clone(), services.clone());
    slices.on_change(move |change| {
        if let Some((namespace, service)) = MANAGER.disturbed(change)
            && known.get(&namespace, &service).is_some()
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
        if !has_endpoints(&spec) {
            return Ok(Outcome::Done);
        }
        let families = spec.ip_families.unwrap_or_else(|| vec!["IPv4".to_owned()]);
        let pods = self.pods.list_in(namespace);
        for family in families {
            let zone =
                |node: &str| self.nodes.get("", node)?.metadata.labels.as_ref()?.get(ZONE).cloned();
            let present = MANAGER.present(&self.slices, namespace, name, &family);
            let plan =
                plan(groups(&service, &pods, &family, &zone), &present, ENDPOINTS_PER_SLICE_MAX);
            let empty = empty_slice(&service, &family);
            carry_out(&self.client, &self.slices, namespace, &present, plan, &empty).await?;
        }
        Ok(Outcome::Done)
    }
}

fn empty_slice(service: &Service, family: &str) -> EndpointSlice {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    let cluster_ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    labels.remove(HEADLESS);
    if cluster_ip == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    MANAGER.slice(service, labels, family)
}
