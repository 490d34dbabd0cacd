//! EndpointSlices that mirror a hand-written `Endpoints` object of a Service without a selector.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort as CorePort, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use crate::endpoints::Group;

/// Addresses of one subset that are mirrored, as upstream's limit.
pub const ADDRESSES_MAX: usize = 1000;
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Whether an `Endpoints` object is to be mirrored.
pub fn is_mirrored(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let has = |map: Option<&BTreeMap<String, String>>, key: &str, value: Option<&str>| {
        map.and_then(|map| map.get(key)).is_some_and(|have| value.is_none_or(|value| have == value))
    };
    let metadata = &endpoints.metadata;
    let opted_out = has(metadata.labels.as_ref(), SKIP, Some("true"))
        || has(metadata.annotations.as_ref(), LEADER, None);
    let without_selector = service.is_some_and(|service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_none_or(BTreeMap::is_empty)
    });
    !opted_out && without_selector
}

/// The groups that an `Endpoints` object's addresses of one family fall into.
pub fn groups(endpoints: &Endpoints, family: &str) -> Vec<Group> {
    let subsets = endpoints.subsets.iter().flatten();
    subsets
        .map(|subset| {
            let ready = subset.addresses.iter().flatten().map(|address| (address, true));
            let not_ready =
                subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
            let fits = |(address, _): &(&EndpointAddress, bool)| {
                address.ip.contains(':') == (family == "IPv6")
            };
            let mirrored = ready.chain(not_ready).filter(fits).take(ADDRESSES_MAX);
            let mut mirrored: Vec<Endpoint> =
                mirrored.map(|(address, ready)| mirror(address, ready)).collect();
            mirrored.sort_by(|a, b| a.addresses.cmp(&b.addresses));
            Group { ports: subset.ports.iter().flatten().map(port).collect(), endpoints: mirrored }
        })
        .filter(|group| !group.endpoints.is_empty())
        .collect()
}

fn port(port: &CorePort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    }
}

fn mirror(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{EndpointSubset, ServiceSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn address(ip: &str) -> EndpointAddress {
        EndpointAddress { ip: ip.into(), ..EndpointAddress::default() }
    }

    #[test]
    fn addresses_are_mirrored_by_family_and_readiness() {
        let endpoints = Endpoints {
            subsets: Some(vec![EndpointSubset {
                addresses: Some(vec![address("10.0.0.2"), address("fd00::1")]),
                not_ready_addresses: Some(vec![address("10.0.0.1")]),
                ports: Some(vec![CorePort { port: 80, ..CorePort::default() }]),
            }]),
            ..Endpoints::default()
        };
        let shown: Vec<(String, bool)> = groups(&endpoints, "IPv4")[0]
            .endpoints
            .iter()
            .map(|e| (e.addresses[0].clone(), e.conditions.as_ref().unwrap().ready.unwrap()))
            .collect();
        assert_eq!(shown, [("10.0.0.1".to_owned(), false), ("10.0.0.2".to_owned(), true)]);
        assert_eq!(groups(&endpoints, "IPv6")[0].endpoints.len(), 1);
        assert!(groups(&Endpoints::default(), "IPv4").is_empty());
    }

    #[test]
    fn only_services_without_selector_have_mirrors() {
        let selecting = Service {
            spec: Some(ServiceSpec {
                selector: Some(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        };
        let skipped = Endpoints {
            metadata: ObjectMeta {
                labels: Some(BTreeMap::from([(SKIP.to_owned(), "true".to_owned())])),
                ..ObjectMeta::default()
            },
            ..Endpoints::default()
        };
        assert!(is_mirrored(&Endpoints::default(), Some(&Service::default())));
        assert!(!is_mirrored(&Endpoints::default(), Some(&selecting)));
        assert!(!is_mirrored(&Endpoints::default(), None));
        assert!(!is_mirrored(&skipped, Some(&Service::default())));
    }
}
