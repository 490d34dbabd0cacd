//! Routes to the pods of other nodes: follows the nodes and tells the pod network.

use std::sync::Arc;
use std::time::Duration;

use client::Client;
use clock::Clock;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use netplan::node_routes::{Neighbour, NodeRoute, plan};
use podnet::{BridgeNetwork, PodNetworkError};

use crate::node::pod_ranges;

/// How often the machine's own networks are looked at although no node changed.
const LOOK_PAUSE: Duration = Duration::from_secs(60);

/// Keeps the routes until `scope` ends. `client` may read all nodes.
pub(crate) fn start(
    own: &str,
    cluster: Vec<IpNet>,
    network: BridgeNetwork,
    client: &Client,
    clock: Clock,
    scope: &task::Scope,
) {
    let nodes = client.informer::<Node>();
    let own = own.to_owned();
    scope.spawn_until_cancelled("routes to nodes", async move {
        nodes.synced().await;
        let mut changed = nodes.changed();
        let (mut said, mut given) = (Vec::new(), None);
        loop {
            let neighbours: Vec<Neighbour> = nodes.list().iter().map(neighbour).collect();
            let (network, own, cluster) = (network.clone(), own.clone(), cluster.clone());
            let before = given.take();
            let work = move || carry_out(&network, &own, &neighbours, &cluster, before);
            match tokio::task::spawn_blocking(work).await {
                Ok(Ok((routes, unreachable))) => {
                    given = Some(routes);
                    if unreachable != said {
                        for node in &unreachable {
                            tracing::warn!(
                                node,
                                "its pods cannot be reached: it is on no network of this machine"
                            );
                        }
                        said = unreachable;
                    }
                }
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "cannot set the routes to other nodes");
                }
                Err(panic) => tracing::error!(%panic, "setting the routes to other nodes panicked"),
            }
            tokio::select! {
                more = changed.changed() => if more.is_err() { return },
                () = clock.sleep(LOOK_PAUSE) => {}
            }
        }
    });
}

type Done = (Vec<NodeRoute>, Vec<String>);

fn carry_out(
    network: &BridgeNetwork,
    own: &str,
    nodes: &[Neighbour],
    cluster: &[IpNet],
    before: Option<Vec<NodeRoute>>,
) -> Result<Done, PodNetworkError> {
    let plan = plan(own, nodes, &network.segments()?, cluster);
    // Nodes change often, by their heartbeats, and routes hardly ever.
    if before.as_ref() != Some(&plan.routes) {
        network.set_node_routes(&plan.routes)?;
    }
    Ok((plan.routes, plan.unreachable))
}

fn neighbour(node: &Arc<Node>) -> Neighbour {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let internal = addresses.into_iter().flatten().filter(|address| address.type_ == "InternalIP");
    Neighbour {
        name: node.metadata.name.clone().unwrap_or_default(),
        addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
        pod_ranges: pod_ranges(node),
    }
}
