//! Which pods stand behind a Service, and how their addresses are spread over slices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort as CoreEndpointPort, EndpointSubset, ObjectReference, Pod,
    Service, ServicePort, ServiceSpec,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Ports of a group of endpoints: name, protocol, number, application protocol.
type PortKey = Vec<(String, String, i32, String)>;

/// The endpoints of a Service that share their port numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The ports.
    pub ports: Vec<EndpointPort>,
    /// The endpoints, ordered by address.
    pub endpoints: Vec<Endpoint>,
}

/// Whether a selector (a map of exact labels) selects a pod.
pub fn selects(selector: Option<&BTreeMap<String, String>>, pod: &Pod) -> bool {
    let Some(selector) = selector.filter(|selector| !selector.is_empty()) else { return false };
    let labels = pod.metadata.labels.as_ref();
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Whether pods stand behind a Service: it selects some, and is not just another name for a host elsewhere.
pub fn has_endpoints(service: &ServiceSpec) -> bool {
    service.type_.as_deref() != Some("ExternalName")
        && service.selector.as_ref().is_some_and(|selector| !selector.is_empty())
}

fn condition(pod: &Pod, kind: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == kind && c.status == "True")
}

fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn addresses(pod: &Pod, family: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all =
        status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).chain(status.pod_ip.as_deref());
    let mut fitting = all.filter(|ip| ip.contains(':') == (family == "IPv6"));
    fitting.next().map(str::to_owned)
}

/// The number that a Service port has on a pod; `None` when the pod has no such port.
fn target_port(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match port.target_port.as_ref() {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let spec = pod.spec.as_ref()?;
            let sidecars = spec.init_containers.iter().flatten();
            let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let containers = spec.containers.iter().chain(sidecars);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            let found = ports.find(|have| {
                have.name.as_deref() == Some(name)
                    && have.protocol.as_deref().unwrap_or("TCP") == protocol
            });
            found.map(|port| port.container_port)
        }
    }
}

fn ports_of(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    ports
        .into_iter()
        .flatten()
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                port: Some(target_port(port, pod)?),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn port_key(ports: &[EndpointPort]) -> PortKey {
    let mut key: PortKey = ports
        .iter()
        .map(|port| {
            (
                port.name.clone().unwrap_or_default(),
                port.protocol.clone().unwrap_or_default(),
                port.port.unwrap_or(0),
                port.app_protocol.clone().unwrap_or_default(),
            )
        })
        .collect();
    key.sort();
    key
}

fn endpoint(service: &Service, pod: &Pod, address: String, zone: Option<String>) -> Endpoint {
    let spec = service.spec.as_ref();
    let publish = spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let serving = condition(pod, "Ready");
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let pod_spec = pod.spec.as_ref();
    let subdomain = pod_spec.and_then(|spec| spec.subdomain.as_deref());
    let hostname = pod_spec
        .and_then(|spec| spec.hostname.clone())
        .filter(|hostname| !hostname.is_empty() && subdomain == service.metadata.name.as_deref());
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publish || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname,
        node_name: pod_spec.and_then(|spec| spec.node_name.clone()),
        target_ref: Some(target(pod)),
        zone,
        ..Endpoint::default()
    }
}

fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The endpoints of a Service for one address family, grouped by the numbers of their ports. `zone` gives
/// a node's zone.
pub fn groups(
    service: &Service,
    pods: &[Arc<Pod>],
    family: &str,
    zone: &dyn Fn(&str) -> Option<String>,
) -> Vec<Group> {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let mut groups: BTreeMap<PortKey, Group> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| selects(selector, pod) && !is_terminal(pod)) {
        let Some(address) = addresses(pod, family) else { continue };
        let ports = ports_of(service, pod);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let endpoint = endpoint(service, pod, address, node.and_then(zone));
        let group = groups
            .entry(port_key(&ports))
            .or_insert_with(|| Group { ports, endpoints: Vec::new() });
        group.endpoints.push(endpoint);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    for group in &mut groups {
        group.endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    }
    groups
}

/// What is to be done with a Service's slices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlicePlan {
    /// New slices: ports and endpoints; the rest of the object is the same for all.
    pub create: Vec<Group>,
    /// Present slices (by name) with their new content.
    pub update: Vec<(String, Group)>,
    /// Present slices that are not needed any more.
    pub delete: Vec<String>,
}

/// Spreads groups over slices with as few changes as possible: endpoints stay in the slice they are in.
pub fn plan(groups: Vec<Group>, present: &[Arc<EndpointSlice>], slice_max: usize) -> SlicePlan {
    let mut plan = SlicePlan::default();
    let mut used: BTreeSet<String> = BTreeSet::new();
    let groups = if groups.is_empty() {
        // A Service without pods has one empty slice, so that watchers see it exists.
        vec![Group { ports: Vec::new(), endpoints: Vec::new() }]
    } else {
        groups
    };
    let name = |slice: &EndpointSlice| slice.metadata.name.clone().unwrap_or_default();
    for group in groups {
        let key = port_key(&group.ports);
        let same = |slice: &&Arc<EndpointSlice>| {
            port_key(slice.ports.as_deref().unwrap_or_default()) == key
        };
        let mut mine: Vec<&Arc<EndpointSlice>> = present.iter().filter(same).collect();
        mine.sort_by_key(|slice| name(slice));
        let filled = fill(&group, &mine, slice_max);
        for (slice, endpoints) in filled.kept {
            used.insert(name(slice));
            if slice.endpoints.as_deref().unwrap_or_default() != endpoints.as_slice() {
                plan.update.push((name(slice), Group { ports: group.ports.clone(), endpoints }));
            }
        }
        plan.create.extend(
            filled.new.into_iter().map(|endpoints| Group { ports: group.ports.clone(), endpoints }),
        );
    }
    plan.delete =
        present.iter().map(|slice| name(slice)).filter(|name| !used.contains(name)).collect();
    plan
}

struct Filled<'a> {
    kept: Vec<(&'a Arc<EndpointSlice>, Vec<Endpoint>)>,
    new: Vec<Vec<Endpoint>>,
}

fn fill<'a>(group: &Group, slices: &[&'a Arc<EndpointSlice>], slice_max: usize) -> Filled<'a> {
    let mut rest: BTreeMap<&str, &Endpoint> =
        group.endpoints.iter().filter_map(|e| Some((e.addresses.first()?.as_str(), e))).collect();
    let mut kept: Vec<(&Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
    for slice in slices {
        let stay = slice
            .endpoints
            .iter()
            .flatten()
            .filter_map(|endpoint| rest.remove(endpoint.addresses.first()?.as_str()).cloned());
        kept.push((slice, stay.take(slice_max).collect()));
    }
    let mut rest: Vec<Endpoint> = rest.into_values().cloned().collect();
    for (_, endpoints) in &mut kept {
        let room = slice_max.saturating_sub(endpoints.len()).min(rest.len());
        endpoints.extend(rest.drain(..room));
    }
    let mut new: Vec<Vec<Endpoint>> = Vec::new();
    while !rest.is_empty() {
        let count = rest.len().min(slice_max);
        new.push(rest.drain(..count).collect());
    }
    let any = kept.iter().any(|(_, endpoints)| !endpoints.is_empty()) || !new.is_empty();
    if any {
        kept.retain(|(_, endpoints)| !endpoints.is_empty());
    } else {
        kept.truncate(1);
        if kept.is_empty() {
            new.push(Vec::new());
        }
    }
    Filled { kept, new }
}

/// The subsets of the old `Endpoints` form.
pub fn subsets(groups: &[Group], endpoints_max: usize) -> Vec<EndpointSubset> {
    let mut left = endpoints_max;
    groups
        .iter()
        .map(|group| {
            let (mut ready, mut not_ready) = (Vec::new(), Vec::new());
            for endpoint in group.endpoints.iter().take(left) {
                let conditions = endpoint.conditions.as_ref();
                let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
                let is_ready = conditions.and_then(|c| c.ready).unwrap_or(true);
                if is_ready {
                    ready.push(address(endpoint));
                } else if !terminating {
                    not_ready.push(address(endpoint));
                }
            }
            left = left.saturating_sub(group.endpoints.len());
            EndpointSubset {
                addresses: (!ready.is_empty()).then_some(ready),
                not_ready_addresses: (!not_ready.is_empty()).then_some(not_ready),
                ports: Some(group.ports.iter().map(core_port).collect()),
            }
        })
        .filter(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some())
        .collect()
}

fn address(endpoint: &Endpoint) -> EndpointAddress {
    EndpointAddress {
        ip: endpoint.addresses.first().cloned().unwrap_or_default(),
        hostname: endpoint.hostname.clone(),
        node_name: endpoint.node_name.clone(),
        target_ref: endpoint.target_ref.clone(),
    }
}

fn core_port(port: &EndpointPort) -> CoreEndpointPort {
    CoreEndpointPort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: port.port.unwrap_or(0),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Container, ContainerPort, PodCondition, PodSpec, PodStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn labels() -> BTreeMap<String, String> {
        BTreeMap::from([("app".to_owned(), "web".to_owned())])
    }

    #[test]
    fn a_name_for_another_host_has_no_endpoints() {
        let spec = |kind: Option<&str>, selector| ServiceSpec {
            type_: kind.map(str::to_owned),
            selector,
            ..ServiceSpec::default()
        };
        let cases = [
            (spec(None, Some(labels())), true),
            (spec(Some("ClusterIP"), Some(labels())), true),
            (spec(Some("ExternalName"), Some(labels())), false),
            (spec(None, Some(BTreeMap::new())), false),
            (spec(None, None), false),
        ];
        for (spec, expected) in cases {
            assert_eq!(has_endpoints(&spec), expected, "{spec:?}");
        }
    }

    fn service(port: ServicePort) -> Service {
        Service {
            metadata: ObjectMeta { name: Some("web".into()), ..ObjectMeta::default() },
            spec: Some(ServiceSpec {
                selector: Some(labels()),
                ports: Some(vec![port]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    fn pod(name: &str, ip: &str, ready: bool, port: i32) -> Arc<Pod> {
        Arc::new(Pod {
            metadata: ObjectMeta {
                name: Some(name.into()),
                labels: Some(labels()),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                containers: vec![Container {
                    ports: Some(vec![ContainerPort {
                        name: Some("http".into()),
                        container_port: port,
                        ..ContainerPort::default()
                    }]),
                    ..Container::default()
                }],
                ..PodSpec::default()
            }),
            status: Some(PodStatus {
                pod_ip: Some(ip.into()),
                conditions: Some(vec![PodCondition {
                    type_: "Ready".into(),
                    status: if ready { "True" } else { "False" }.into(),
                    ..PodCondition::default()
                }]),
                ..PodStatus::default()
            }),
        })
    }

    fn named() -> ServicePort {
        ServicePort {
            port: 80,
            target_port: Some(IntOrString::String("http".into())),
            ..ServicePort::default()
        }
    }

    #[test]
    fn pods_are_grouped_by_the_number_of_a_named_port() {
        let pods = [pod("a", "10.0.0.1", true, 8080), pod("b", "10.0.0.2", false, 9090)];
        let groups = groups(&service(named()), &pods, "IPv4", &|_| None);
        let shown: Vec<(Option<i32>, Option<bool>)> = groups
            .iter()
            .map(|g| (g.ports[0].port, g.endpoints[0].conditions.as_ref().unwrap().ready))
            .collect();
        assert_eq!(shown, [(Some(8080), Some(true)), (Some(9090), Some(false))]);
    }

    #[test]
    fn slices_change_as_little_as_possible() {
        let pods: Vec<_> =
            (1..=3).map(|n| pod(&format!("p{n}"), &format!("10.0.0.{n}"), true, 80)).collect();
        let all = groups(&service(named()), &pods, "IPv4", &|_| None);
        let created = plan(all.clone(), &[], 2).create;
        assert_eq!(created.iter().map(|g| g.endpoints.len()).collect::<Vec<_>>(), [2, 1]);
        let slices: Vec<Arc<EndpointSlice>> = created
            .into_iter()
            .enumerate()
            .map(|(n, group)| {
                Arc::new(EndpointSlice {
                    metadata: ObjectMeta { name: Some(format!("s{n}")), ..ObjectMeta::default() },
                    ports: Some(group.ports),
                    endpoints: Some(group.endpoints),
                    ..EndpointSlice::default()
                })
            })
            .collect();
        assert_eq!(plan(all, &slices, 2), SlicePlan::default());
        let fewer = groups(&service(named()), &pods[..2], "IPv4", &|_| None);
        assert_eq!(plan(fewer, &slices, 2).delete, ["s1"]);
        let none = plan(Vec::new(), &slices, 2);
        assert_eq!((none.create.len(), none.delete.len()), (1, 2));
    }

    #[test]
    fn unready_pods_are_listed_as_such() {
        let pods = [pod("a", "10.0.0.1", true, 80), pod("b", "10.0.0.2", false, 80)];
        let subsets = subsets(&groups(&service(named()), &pods, "IPv4", &|_| None), 10);
        assert_eq!(subsets.len(), 1);
        assert_eq!(subsets[0].addresses.as_ref().unwrap()[0].ip, "10.0.0.1");
        assert_eq!(subsets[0].not_ready_addresses.as_ref().unwrap()[0].ip, "10.0.0.2");
    }
}
