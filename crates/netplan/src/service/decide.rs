//! The decision: Services and EndpointSlices to a plan.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::endpoints::{Usable, endpoints_of_port, usable};
use super::plan::{
    Action, FamilyPlan, FrontEnd, Handling, HealthCheck, NodeInfo, Plan, Protocol, StickyGroup,
};
use crate::limits::AFFINITY_SECONDS_DEFAULT;

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Services and slices with one of these labels are somebody else's to serve, or nobody's.
const UNSERVED_LABELS: [&str; 2] =
    ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];

/// What `node` has to do so that every Service works.
pub fn decide<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    node: &NodeInfo,
) -> Plan {
    let by_service = slices_by_service(slices);
    let mut services: Vec<&Service> = services.into_iter().filter(|s| is_served(s)).collect();
    // Two Services may claim one external address; the first by name has it, on every node.
    services.sort_by_key(|service| (&service.metadata.namespace, &service.metadata.name));
    let mut plan = Plan::default();
    for service in services {
        let none = Vec::new();
        let slices = by_service.get(&key_of(service)).unwrap_or(&none);
        decide_service(&mut plan, service, slices, node);
    }
    plan
}

type Key<'a> = (&'a str, &'a str);

fn slices_by_service<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> HashMap<Key<'a>, Vec<&'a EndpointSlice>> {
    let mut by_service: HashMap<Key<'a>, Vec<&'a EndpointSlice>> = HashMap::new();
    for slice in slices {
        let Some(labels) = &slice.metadata.labels else { continue };
        if is_unserved(labels) {
            continue;
        }
        if let Some(name) = labels.get(SERVICE_NAME_LABEL) {
            let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
            by_service.entry((namespace, name)).or_default().push(slice);
        }
    }
    by_service
}

fn key_of(service: &Service) -> Key<'_> {
    let metadata = &service.metadata;
    (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

fn is_unserved(labels: &BTreeMap<String, String>) -> bool {
    UNSERVED_LABELS.iter().any(|label| labels.contains_key(*label))
}

fn is_served(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    !service.metadata.labels.as_ref().is_some_and(is_unserved)
        && spec.type_.as_deref() != Some("ExternalName")
        && spec.cluster_ip.as_deref().is_some_and(|ip| !ip.is_empty() && ip != "None")
}

fn decide_service(plan: &mut Plan, service: &Service, slices: &[&EndpointSlice], node: &NodeInfo) {
    let Some(spec) = &service.spec else { return };
    let mut local_ready = 0;
    for cluster_ip in cluster_ips(spec) {
        let family = if cluster_ip.is_ipv4() { &mut plan.ipv4 } else { &mut plan.ipv6 };
        family.cluster_ips.insert(cluster_ip);
        for port in spec.ports.iter().flatten() {
            let Some(exposed) = Exposed::read(service, spec, port, cluster_ip, node) else {
                continue;
            };
            let endpoints = endpoints_of_port(
                slices,
                cluster_ip.is_ipv4(),
                port.name.as_deref().unwrap_or_default(),
                exposed.protocol,
                node,
            );
            let usable = usable(&endpoints, node);
            local_ready = local_ready.max(usable.local_ready);
            let local = endpoints.iter().filter(|endpoint| endpoint.local);
            family.local_endpoints.extend(local.map(|endpoint| endpoint.address.ip()));
            exposed.add_to(family, &usable);
        }
    }
    let health_check = spec.health_check_node_port.and_then(|port| u16::try_from(port).ok());
    if let Some(port) = health_check.filter(|port| *port != 0 && needs_health_check(spec)) {
        let (namespace, name) = key_of(service);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        plan.health_checks.entry(port).or_insert(HealthCheck {
            namespace,
            name,
            local_endpoints: local_ready,
        });
    }
}

fn needs_health_check(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("LoadBalancer")
        && spec.external_traffic_policy.as_deref() == Some("Local")
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let listed: Vec<IpAddr> = addresses(spec.cluster_ips.iter().flatten());
    if listed.is_empty() { addresses(spec.cluster_ip.iter()) } else { listed }
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// One port of a Service in one address family: where it is reached, and how it is to be treated.
struct Exposed {
    service: Arc<str>,
    protocol: Protocol,
    cluster: FrontEnd,
    external: Vec<FrontEnd>,
    load_balancers: Vec<FrontEnd>,
    sources: Option<Arc<[IpNet]>>,
    affinity_seconds: Option<u32>,
    internal_local: bool,
    external_local: bool,
}

impl Exposed {
    fn read(
        service: &Service,
        spec: &ServiceSpec,
        port: &ServicePort,
        cluster_ip: IpAddr,
        node: &NodeInfo,
    ) -> Option<Self> {
        let protocol = Protocol::parse(port.protocol.as_deref())?;
        let number = u16::try_from(port.port).ok().filter(|number| *number != 0)?;
        let at = |address| FrontEnd { address: Some(address), protocol, port: number };
        let same_family = |address: &IpAddr| address.is_ipv4() == cluster_ip.is_ipv4();
        let mut external: Vec<FrontEnd> = addresses(spec.external_ips.iter().flatten())
            .into_iter()
            .filter(same_family)
            .map(at)
            .collect();
        if let Some(node_port) = port.node_port.and_then(|port| u16::try_from(port).ok())
            && node_port != 0
        {
            external.push(FrontEnd { address: None, protocol, port: node_port });
        }
        let load_balancers: Vec<IpAddr> =
            load_balancer_addresses(service).into_iter().filter(same_family).collect();
        let (namespace, name) = key_of(service);
        let port_name = port.name.as_deref().unwrap_or_default();
        Some(Self {
            service: format!("{namespace}/{name}:{port_name}").into(),
            protocol,
            cluster: at(cluster_ip),
            external,
            sources: sources(spec, &load_balancers, same_family, node),
            load_balancers: load_balancers.into_iter().map(at).collect(),
            affinity_seconds: affinity_seconds(spec),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        })
    }

    fn add_to(&self, family: &mut FamilyPlan, usable: &Usable) {
        let anywhere = !usable.cluster.is_empty() || !usable.local.is_empty();
        let cluster =
            |family: &mut FamilyPlan| self.action(family, &usable.cluster, "cluster", anywhere);
        let local = |family: &mut FamilyPlan| self.action(family, &usable.local, "local", anywhere);
        let internal = if self.internal_local { local(family) } else { cluster(family) };
        self.put(family, usable, self.cluster, (internal, None), false, None);
        if self.external.is_empty() && self.load_balancers.is_empty() {
            return;
        }
        let (outside, inside) = match self.external_local {
            // Pods and the node itself reach every endpoint, also through external addresses.
            true => (local(family), Some(cluster(family))),
            false => (cluster(family), None),
        };
        for front_end in &self.external {
            let actions = (outside.clone(), inside.clone());
            self.put(family, usable, *front_end, actions, !self.external_local, None);
        }
        for front_end in &self.load_balancers {
            let actions = (outside.clone(), inside.clone());
            let sources = self.sources.clone();
            self.put(family, usable, *front_end, actions, !self.external_local, sources);
        }
    }

    fn action(
        &self,
        family: &mut FamilyPlan,
        endpoints: &Arc<[SocketAddr]>,
        scope: &str,
        anywhere: bool,
    ) -> Action {
        if endpoints.is_empty() {
            return if anywhere { Action::Drop } else { Action::Reject };
        }
        let Some(timeout_seconds) = self.affinity_seconds else {
            return Action::Balance(endpoints.clone());
        };
        let service: Arc<str> = format!("{}/{}", self.service, self.protocol).into();
        let name: Arc<str> = format!("{service}/{scope}").into();
        family.sticky_groups.entry(name.clone()).or_insert_with(|| StickyGroup {
            service,
            endpoints: endpoints.clone(),
            timeout_seconds,
        });
        Action::Sticky(name)
    }

    fn put(
        &self,
        family: &mut FamilyPlan,
        usable: &Usable,
        front_end: FrontEnd,
        (outside, inside): (Action, Option<Action>),
        masquerade: bool,
        sources: Option<Arc<[IpNet]>>,
    ) {
        let inside = inside.filter(|inside| *inside != outside);
        let udp_serving = match self.protocol {
            Protocol::Udp => usable.serving.clone(),
            Protocol::Tcp | Protocol::Sctp => Arc::default(),
        };
        let service = self.service.clone();
        family.front_ends.entry(front_end).or_insert(Handling {
            service,
            outside,
            inside,
            masquerade,
            sources,
            udp_serving,
        });
    }
}

fn affinity_seconds(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let configured = spec.session_affinity_config.as_ref();
    let seconds = configured.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    Some(
        seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(AFFINITY_SECONDS_DEFAULT),
    )
}

fn load_balancer_addresses(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    status
        .iter()
        .flat_map(|status| status.ingress.iter().flatten())
        // A balancer in proxy mode wants traffic to pass through it, so it is no front end here.
        .filter(|ingress| ingress.ip_mode.as_deref().unwrap_or("VIP") == "VIP")
        .filter_map(|ingress| ingress.ip.as_deref()?.parse().ok())
        .collect()
}

fn sources(
    spec: &ServiceSpec,
    load_balancers: &[IpAddr],
    same_family: impl Fn(&IpAddr) -> bool,
    node: &NodeInfo,
) -> Option<Arc<[IpNet]>> {
    let mut sources: Vec<IpNet> = spec
        .load_balancer_source_ranges
        .iter()
        .flatten()
        .filter_map(|range| range.trim().parse().ok())
        .filter(|range: &IpNet| same_family(&range.addr()))
        .collect();
    if sources.is_empty() {
        return None;
    }
    // Where the balancer's address is also a local one, the node's own requests leave from it.
    let node_is_let_in =
        node.addresses.iter().any(|address| sources.iter().any(|range| range.contains(address)));
    if node_is_let_in {
        sources.extend(load_balancers.iter().map(|address| IpNet::from(*address)));
    }
    Some(sources.into())
}
