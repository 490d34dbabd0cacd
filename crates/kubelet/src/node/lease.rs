//! The node's lease: the cheap sign of life.

use std::sync::Arc;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::api::PostParams;

use crate::limits::{LEASE_PERIOD, LEASE_SECONDS};
use crate::shared::Shared;

const NAMESPACE: &str = "kube-node-lease";

/// Renews the lease for as long as the kubelet runs.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut random = clock::Random::system();
    let mut held: Option<Lease> = None;
    loop {
        match renew(&shared, held.take()).await {
            Ok(lease) => held = Some(lease),
            Err(error) => tracing::info!(%error, "cannot renew the node's lease"),
        }
        shared.clock.sleep(random.jitter(LEASE_PERIOD, 0.04)).await;
    }
}

async fn renew(shared: &Shared, held: Option<Lease>) -> Result<Lease, kube::Error> {
    let leases = shared.client.namespaced::<Lease>(NAMESPACE);
    let name = &shared.config.node_name;
    let held = match held {
        Some(held) => Some(held),
        None => leases.get_opt(name).await?,
    };
    let is_new = held.is_none();
    let mut lease = held.unwrap_or_default();
    lease.metadata.name = Some(name.clone());
    lease.metadata.namespace = Some(NAMESPACE.to_owned());
    if lease.metadata.owner_references.as_ref().is_none_or(Vec::is_empty) {
        lease.metadata.owner_references = owner(shared).await?.map(|owner| vec![owner]);
    }
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: Some(LEASE_SECONDS),
        renew_time: Some(MicroTime(shared.clock.now())),
        ..LeaseSpec::default()
    });
    if is_new {
        leases.create(&PostParams::default(), &lease).await
    } else {
        leases.replace(name, &PostParams::default(), &lease).await
    }
}

async fn owner(shared: &Shared) -> Result<Option<OwnerReference>, kube::Error> {
    let node = shared.client.all::<Node>().get_opt(&shared.config.node_name).await?;
    Ok(node.and_then(|node| node.metadata.uid).map(|uid| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: shared.config.node_name.clone(),
        uid,
        ..OwnerReference::default()
    }))
}
