//! Building the zone's index from API objects.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::service::Protocol;

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What the zone is told by the installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneConfig {
    /// The cluster's domain, such as `cluster.local`.
    pub domain: String,
    /// Addresses of the name server, for the zone's own NS record.
    pub servers: Vec<IpAddr>,
    /// Seconds for which answers may be kept.
    pub ttl: u32,
}

/// The names of the cluster at one moment.
#[derive(Clone, Debug)]
pub struct Zone {
    pub(super) config: ZoneConfig,
    pub(super) serial: u32,
    pub(super) namespaces: HashSet<String>,
    pub(super) services: HashMap<String, HashMap<String, Entry>>,
    pub(super) reverse: HashMap<IpAddr, Vec<String>>,
}

/// A Service.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) cluster_ips: Vec<IpAddr>,
    pub(super) external_name: Option<String>,
    pub(super) ports: Vec<Port>,
    pub(super) endpoints: BTreeMap<String, Vec<Place>>,
}

impl Entry {
    pub(super) fn is_headless(&self) -> bool {
        self.cluster_ips.is_empty()
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) number: u16,
}

/// An endpoint's address and its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: IpAddr,
    pub(super) ports: Vec<Port>,
}

impl Zone {
    /// The zone for these objects. `serial` must grow from one zone to the next.
    pub fn build<'a>(
        config: &ZoneConfig,
        serial: u32,
        services: impl IntoIterator<Item = &'a Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
        namespaces: impl IntoIterator<Item = &'a Namespace>,
    ) -> Self {
        let mut zone = Self {
            config: ZoneConfig {
                domain: config.domain.trim_matches('.').to_ascii_lowercase(),
                ..config.clone()
            },
            serial,
            namespaces: namespaces.into_iter().filter_map(|n| n.metadata.name.clone()).collect(),
            services: HashMap::new(),
            reverse: HashMap::new(),
        };
        for service in services {
            zone.add_service(service);
        }
        for slice in slices {
            zone.add_slice(slice);
        }
        zone.index_addresses();
        zone
    }

    /// A zone without any names but its own.
    pub fn empty(config: &ZoneConfig) -> Self {
        Self::build(config, 1, [], [], [])
    }

    /// Its domain, in lower case and without the final dot.
    pub fn domain(&self) -> &str {
        &self.config.domain
    }

    fn add_service(&mut self, service: &Service) {
        let metadata = &service.metadata;
        let (Some(namespace), Some(name), Some(spec)) =
            (&metadata.namespace, &metadata.name, &service.spec)
        else {
            return;
        };
        let is_alias = spec.type_.as_deref() == Some("ExternalName");
        let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let mut cluster_ips: Vec<IpAddr> = Vec::new();
        for address in listed.filter_map(|text| text.parse().ok()) {
            if !cluster_ips.contains(&address) {
                cluster_ips.push(address);
            }
        }
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            read_port(port.name.as_deref(), port.protocol.as_deref(), Some(port.port))
        });
        let entry = Entry {
            cluster_ips,
            external_name: spec.external_name.clone().filter(|_| is_alias),
            ports: ports.collect(),
            endpoints: BTreeMap::new(),
        };
        // A Service proves its namespace, should the two arrive out of order.
        self.namespaces.insert(namespace.clone());
        self.services.entry(namespace.clone()).or_default().insert(name.clone(), entry);
    }

    fn add_slice(&mut self, slice: &EndpointSlice) {
        let metadata = &slice.metadata;
        let name = metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let entry = name
            .and_then(|name| self.services.get_mut(namespace)?.get_mut(name))
            .filter(|entry| entry.external_name.is_none());
        let Some(entry) = entry else { return };
        let ports: Vec<Port> = slice
            .ports
            .iter()
            .flatten()
            .filter_map(|port| read_port(port.name.as_deref(), port.protocol.as_deref(), port.port))
            .collect();
        for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| is_ready(endpoint)) {
            for address in endpoint.addresses.iter().filter_map(|text| text.parse().ok()) {
                entry.add_endpoint(endpoint.hostname.as_deref(), address, &ports);
            }
        }
    }

    fn index_addresses(&mut self) {
        for (namespace, services) in &self.services {
            for (name, entry) in services {
                let service = format!("{name}.{namespace}.svc.{}", self.config.domain);
                for (host, places) in &entry.endpoints {
                    for place in places {
                        let names = self.reverse.entry(place.address).or_default();
                        names.push(format!("{host}.{service}"));
                    }
                }
                for address in &entry.cluster_ips {
                    self.reverse.insert(*address, vec![service.clone()]);
                }
            }
        }
        for names in self.reverse.values_mut() {
            names.sort();
            names.dedup();
        }
    }
}

impl Entry {
    fn add_endpoint(&mut self, hostname: Option<&str>, address: IpAddr, ports: &[Port]) {
        let host = hostname
            .filter(|hostname| !hostname.is_empty())
            .map_or_else(|| dashed(address), str::to_ascii_lowercase);
        let places = self.endpoints.entry(host).or_default();
        match places.iter_mut().find(|place| place.address == address) {
            // Slices of one Service may divide its ports among them.
            Some(place) => {
                let new = ports.iter().filter(|port| !place.ports.contains(port));
                let new: Vec<Port> = new.cloned().collect();
                place.ports.extend(new);
            }
            None => places.push(Place { address, ports: ports.to_vec() }),
        }
    }
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn read_port(name: Option<&str>, protocol: Option<&str>, number: Option<i32>) -> Option<Port> {
    Some(Port {
        name: name.unwrap_or_default().to_ascii_lowercase(),
        protocol: Protocol::parse(protocol)?,
        number: u16::try_from(number?).ok()?,
    })
}

/// An address as a label: `10.0.0.1` is `10-0-0-1`.
pub(super) fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}
