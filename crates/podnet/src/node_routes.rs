//! Routes to the pods of other nodes, as `netplan::node_routes` plans them.

use linux::netlink::{Route, RouteSocket};
use netplan::node_routes::{NodeRoute, Segment};

use crate::error::PodNetworkError;

/// The networks that this node has addresses in, without that of the link `bridge` and of loopback.
pub(crate) fn segments(
    routes: &mut RouteSocket,
    bridge: Option<u32>,
) -> Result<Vec<Segment>, PodNetworkError> {
    let failed = |source| PodNetworkError::Link {
        action: "list",
        object: "the addresses of this node".to_owned(),
        source,
    };
    let all = routes.addresses().map_err(failed)?.into_iter();
    let outside = all.filter(|it| Some(it.link) != bridge && !it.address.addr().is_loopback());
    Ok(outside.map(|it| Segment { address: it.address, link: it.link }).collect())
}

/// Adds what is missing of `wanted` and removes those of our routes through a gateway that are not in it.
pub(crate) fn set(routes: &mut RouteSocket, wanted: &[NodeRoute]) -> Result<(), PodNetworkError> {
    let failed =
        |action, object: String| move |source| PodNetworkError::Link { action, object, source };
    let there = routes.own_routes().map_err(failed("list", "routes".to_owned()))?;
    let is_the = |route: &Route, wanted: &NodeRoute| {
        route.destination == wanted.destination
            && route.gateway == Some(wanted.gateway)
            && route.link == wanted.link
    };
    for route in there.iter().filter(|route| route.gateway.is_some()) {
        // One to the same destination is replaced, so that packets always have a way.
        if !wanted.iter().any(|wanted| wanted.destination == route.destination) {
            let object = format!("the route to {}", route.destination);
            routes.delete_route(*route).map_err(failed("remove", object))?;
        }
    }
    for wanted in wanted.iter().filter(|wanted| !there.iter().any(|route| is_the(route, wanted))) {
        let route = Route {
            destination: wanted.destination,
            link: wanted.link,
            gateway: Some(wanted.gateway),
            source: None,
        };
        let object = format!("the route to {}", wanted.destination);
        routes.put_route(route).map_err(failed("make", object))?;
    }
    Ok(())
}
