//! Every node has a range of pod addresses of its own (`spec.podCIDR`).

use std::sync::Arc;

use client::{Change, Outcome, WorkQueue, run_workers};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use reconcile::node_ipam::Ranges;
use serde_json::json;

use crate::Context;
use crate::kinds::{name_of, not_found};

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<String> = WorkQueue::new();
    let nodes = context.client.informer::<Node>();
    let ranges =
        Arc::new(Mutex::new(Ranges::new(context.config.cluster_cidr, context.config.node_mask)));
    let (adding, freeing) = (queue.clone(), Arc::clone(&ranges));
    nodes.on_change(move |change| {
        let node = change.object();
        let range = node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref());
        let range = range.and_then(|text| text.parse().ok());
        match (change, range) {
            (Change::Deleted(_), Some(range)) => freeing.lock().release(&range),
            (Change::Deleted(_), None) => {}
            (_, Some(range)) => freeing.lock().occupy(&range),
            (_, None) => adding.add(name_of(&**node)),
        }
    });
    let client = context.client.clone();
    run_workers(&context.scope, "node IPAM controller", 1, &queue, move |name| {
        let (client, nodes, ranges) = (client.clone(), nodes.clone(), Arc::clone(&ranges));
        async move {
            // The ranges that are taken must all be known before one is given out.
            nodes.synced().await;
            let has = nodes.get("", &name).and_then(|node| node.spec.as_ref()?.pod_cidr.clone());
            if has.is_some() || nodes.get("", &name).is_none() {
                return Ok::<_, Error>(Outcome::Done);
            }
            let range = ranges.lock().take().ok_or(Error::Full)?;
            let patch =
                json!({"spec": {"podCIDR": range.to_string(), "podCIDRs": [range.to_string()]}});
            let api = client.all::<Node>();
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => Ok(Outcome::Done),
                Err(error) => {
                    ranges.lock().release(&range);
                    if not_found(&error) { Ok(Outcome::Done) } else { Err(error.into()) }
                }
            }
        }
    });
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the cluster's range of pod addresses has no room for another node")]
    Full,
    #[error("cannot give a node its range of pod addresses")]
    Api(#[from] kube::Error),
}
